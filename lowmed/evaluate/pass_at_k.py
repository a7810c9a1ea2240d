"""What K sampled completions to each question say: Pass@K, maj@K, and how far agreement can be trusted."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lowmed.answer import is_yes_no
from lowmed.evaluate.intervals import clustered
from lowmed.evaluate.metrics import mean

Row = Mapping[str, Any]
KS = (1, 2, 4, 8, 16)
BINS = 10
COVERAGES = (0.25, 0.5, 0.75, 1.0)


def pass_at(n: int, right: int, k: int) -> float:
    """The chance that at least one of k completions drawn from n is right: 1 - C(n-c, k) / C(n, k), unbiased.

    Chen et al. 2021 (arXiv:2107.03374), as a product so that nothing overflows.

    Raises:
        ValueError: fewer than k completions were drawn.
    """
    if n < k:
        raise ValueError(f"pass@{k} needs {k} replies, there are {n}")
    return 1.0 - math.prod(1 - k / i for i in range(n - right + 1, n + 1))


def all_right_at(n: int, right: int, k: int) -> float:
    """The chance that all of k completions drawn from n are right: C(c, k) / C(n, k)."""
    return math.comb(right, k) / math.comb(n, k)


def guess_rate(row: Row) -> float:
    """How often a guess among the allowed answers is right: 1/options, 1/2 for yes or no, 0 for the others."""
    if row["kind"] == "choice" and row["options"]:
        return 1 / len(row["options"])
    return 0.5 if row["kind"] == "closed" and is_yes_no(str(row["answer"])) else 0.0


def by_question(rows: Iterable[Row]) -> list[list[Row]]:
    """Scored rows of sampled completions, gathered by question."""
    result: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        result[row["split"], row["id"]].append(row)
    return list(result.values())


def counts(questions: Sequence[Sequence[Row]], field: str = "strict_outcome") -> list[int]:
    """How many completions of each question are right."""
    return [sum(row[field] == "correct" for row in completions) for completions in questions]


def sampling_metrics(rows: Iterable[Row]) -> dict[str, Any]:
    """Pass@K with its interval by image and its chance row, all-right@K, maj@K, calibration; all strict."""
    questions = by_question(rows)
    drawn = min(map(len, questions))
    right = counts(questions)
    groups = [completions[0]["group"] for completions in questions]
    guesses = [guess_rate(completions[0]) for completions in questions]
    table = {}
    for k in (k for k in KS if k <= drawn):
        passed = [pass_at(len(completions), c, k) for completions, c in zip(questions, right, strict=True)]
        table[str(k)] = {
            "pass": mean(passed),
            "by_image": clustered(passed, groups),
            "chance": mean([1 - (1 - guess) ** k for guess in guesses]),
            "all_right": mean(
                [all_right_at(len(completions), c, k) for completions, c in zip(questions, right, strict=True)]
            ),
            "majority": mean([float(majority(completions[:k])[0]) for completions in questions]),
        }
    return {"questions": len(questions), "replies": drawn, "at": table, "calibration": calibration(questions)}


def majority(completions: Sequence[Row]) -> tuple[bool, float]:
    """Whether the answer given most often is right, and the share of all completions that gave it.

    Unread completions have no vote; of answers given equally often the one drawn first wins.
    """
    votes = Counter(row["parsed"] for row in completions if row["strict_outcome"] != "unread")
    if not votes:
        return False, 0.0
    winner, number = votes.most_common(1)[0]  # equal counts stand in the order of their first vote
    right = next(
        row["strict_outcome"] == "correct"
        for row in completions
        if row["parsed"] == winner and row["strict_outcome"] != "unread"
    )
    return right, number / len(completions)


def calibration(questions: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """How well agreement among the completions tells that the majority is right.

    `ece` is the expected calibration error over ten equal bins of agreement; `risk_at_coverage` the error rate when
    only the share of questions with the highest agreement is answered (questions of equal agreement share the risk).
    """
    votes = [majority(completions) for completions in questions]
    bins: dict[int, list[tuple[bool, float]]] = defaultdict(list)
    for right, agreement in votes:
        bins[min(BINS - 1, int(agreement * BINS))].append((right, agreement))
    ece = sum(abs(sum(right for right, _ in cell) - sum(sure for _, sure in cell)) for cell in bins.values())
    return {
        "ece": ece / len(votes),
        "risk_at_coverage": {f"{coverage:g}": _risk(votes, coverage) for coverage in COVERAGES},
    }


def _risk(votes: Sequence[tuple[bool, float]], coverage: float) -> float:
    kept = max(1, round(coverage * len(votes)))
    edge = sorted((agreement for _, agreement in votes), reverse=True)[kept - 1]
    above = [right for right, agreement in votes if agreement > edge]
    tied = [right for right, agreement in votes if agreement == edge]
    wrong = above.count(False) + (kept - len(above)) * tied.count(False) / len(tied)
    return wrong / kept
