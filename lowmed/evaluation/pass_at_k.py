"""Metrics of K sampled completions per question: Pass@K, maj@K, and calibration of their agreement."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lowmed.answer import is_yes_no
from lowmed.evaluation.intervals import mean_interval
from lowmed.evaluation.metrics import mean
from lowmed.evaluation.records import Calibration, SampledAtK, SamplingMetrics

Row = Mapping[str, Any]
KS = (1, 2, 4, 8, 16)
BINS = 10
COVERAGES = (0.25, 0.5, 0.75, 1.0)


def pass_at(n: int, correct: int, k: int) -> float:
    """Unbiased probability that at least one of k completions drawn from n is correct: 1 - C(n-c, k) / C(n, k).

    Chen et al. 2021 (arXiv:2107.03374), computed as a product to avoid overflow.

    Raises:
        ValueError: fewer than k completions were drawn.
    """
    if n < k:
        raise ValueError(f"pass@{k} needs {k} completions, there are {n}")
    return 1.0 - math.prod(1 - k / i for i in range(n - correct + 1, n + 1))


def all_correct_at(n: int, correct: int, k: int) -> float:
    """Unbiased probability that all of k completions drawn from n are correct: C(c, k) / C(n, k)."""
    return math.comb(correct, k) / math.comb(n, k)


def guess_rate(row: Row) -> float:
    """Probability of guessing the answer: 1/options for a choice, 1/2 for yes or no, otherwise 0."""
    if row["kind"] == "choice" and row["options"]:
        return 1 / len(row["options"])
    return 0.5 if row["kind"] == "closed" and is_yes_no(str(row["answer"])) else 0.0


def by_question(rows: Iterable[Row]) -> list[list[Row]]:
    """Group scored rows of sampled completions by question."""
    result: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        result[row["split"], row["id"]].append(row)
    return list(result.values())


def counts(questions: Sequence[Sequence[Row]], field: str = "strict_outcome") -> list[int]:
    """Number of correct completions of each question."""
    return [sum(row[field] == "correct" for row in completions) for completions in questions]


def sampling_metrics(rows: Iterable[Row]) -> SamplingMetrics:
    """Pass@K with its interval over images and its chance level, all-correct@K, maj@K, calibration; all strict."""
    questions = by_question(rows)
    drawn = min(map(len, questions))
    return SamplingMetrics(
        questions=len(questions),
        completions=drawn,
        by_k={str(k): _at_k(questions, k) for k in KS if k <= drawn},
        calibration=calibration(questions),
    )


def _at_k(questions: Sequence[Sequence[Row]], k: int) -> SampledAtK:
    drawn_and_correct = list(zip(map(len, questions), counts(questions), strict=True))
    passed = [pass_at(n, correct, k) for n, correct in drawn_and_correct]
    return SampledAtK(
        pass_rate=mean(passed),
        by_image=mean_interval(passed, [completions[0]["group"] for completions in questions]),
        chance=mean([1 - (1 - guess_rate(completions[0])) ** k for completions in questions]),
        all_correct=mean([all_correct_at(n, correct, k) for n, correct in drawn_and_correct]),
        majority=mean([float(majority(completions[:k])[0]) for completions in questions]),
    )


def majority(completions: Sequence[Row]) -> tuple[bool, float]:
    """Whether the most frequent answer is correct, and its share of all completions.

    Unread completions have no vote. Among answers of equal frequency the first drawn wins.
    """
    votes = Counter(row["parsed"] for row in completions if row["strict_outcome"] != "unread")
    if not votes:
        return False, 0.0
    winner, number = votes.most_common(1)[0]  # Counter keeps equal counts in the order of their first vote
    correct = next(
        row["strict_outcome"] == "correct"
        for row in completions
        if row["parsed"] == winner and row["strict_outcome"] != "unread"
    )
    return correct, number / len(completions)


def calibration(questions: Sequence[Sequence[Row]]) -> Calibration:
    """How well the agreement of the completions predicts that the majority answer is correct.

    `ece` is the expected calibration error over ten equal bins of agreement. `risk_at_coverage` is the error rate if
    only the share of questions with the highest agreement is answered; questions of equal agreement share the risk.
    """
    votes = [majority(completions) for completions in questions]
    bins: dict[int, list[tuple[bool, float]]] = defaultdict(list)
    for correct, agreement in votes:
        bins[min(BINS - 1, int(agreement * BINS))].append((correct, agreement))
    ece = sum(abs(sum(correct for correct, _ in cell) - sum(share for _, share in cell)) for cell in bins.values())
    return Calibration(
        ece=ece / len(votes), risk_at_coverage={f"{coverage:g}": _risk(votes, coverage) for coverage in COVERAGES}
    )


def _risk(votes: Sequence[tuple[bool, float]], coverage: float) -> float:
    kept = max(1, round(coverage * len(votes)))
    threshold = sorted((agreement for _, agreement in votes), reverse=True)[kept - 1]
    above = [correct for correct, agreement in votes if agreement > threshold]
    tied = [correct for correct, agreement in votes if agreement == threshold]
    wrong = above.count(False) + (kept - len(above)) * tied.count(False) / len(tied)
    return wrong / kept
