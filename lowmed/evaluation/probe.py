"""Test whether RL can help: whether sampled completions reach correct answers by using the image.

RL sharpens what a model already does at times (from Acc@1 up to Pass@K); it does not add what the model never does
(MedBridgeRL, arXiv:2603.01301). Pass@K alone overstates this: guessing reaches a Pass@4 of 0.94 on yes/no questions.
So a question counts as supported only if more of its completions are correct than guessing and the same model without
the image explain: a one-sided binomial test at 5 % against the larger of the guess rate and the blind rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lowmed.evaluation.intervals import mean_interval, wilson
from lowmed.evaluation.metrics import STRATA, Row, correct_flags, groups_of, is_few, mean
from lowmed.evaluation.pass_at_k import KS, by_question, guess_rate, pass_at
from lowmed.evaluation.records import ProbeAtK, ProbeStratum

Verdict = Literal["RL", "SFT first", "neither"]
# Our choices: the paper publishes no thresholds.
SUPPORT = 0.25  # at least this share of the questions must be supported for RL
SOLVED = 0.9  # above this greedy accuracy little is left to gain
FORMAT_FAILURE = 0.5  # above this share of unread completions most rewards are 0
MIXED = 0.1  # at least this share of the questions must have both correct and incorrect completions
LEVEL = 0.05


@dataclass(frozen=True)
class ProbedQuestion:
    """The counts of one question."""

    greedy: Row
    completions: int
    correct: int
    blind_completions: int
    blind_correct: int
    guess: float
    unread: float
    unique: int
    supported: bool


def probe(
    greedy: Sequence[Row], sampled: Sequence[Row], blind: Sequence[Row], *, support: float = SUPPORT
) -> dict[str, Any]:
    """Acc@1, Pass@K, support and verdict: over `all` questions, `by_modality` and `by_kind`, as fields of a report.

    Args:
        greedy: scored greedy completions, one a question.
        sampled: scored sampled completions, K a question.
        blind: the same without images.
        support: threshold of the verdict.
    """
    questions = _questions(greedy, sampled, blind)
    return {
        "support_needed": support,
        "all": _stratum(questions, support),
        "by_modality": _strata(questions, STRATA["modality"], support),
        "by_kind": _strata(questions, STRATA["kind"], support),
    }


def supported(correct: int, completions: int, guess: float, blind_correct: int, blind_completions: int) -> bool:
    """Whether the number of correct completions exceeds what guessing and the blind model explain.

    The blind rate is (correct + 1/2) / (completions + 1), so that 0 of few completions does not count as never.
    """
    from scipy.stats import binom

    explained = max(guess, (blind_correct + 0.5) / (blind_completions + 1))
    return bool(binom.sf(correct - 1, completions, explained) < LEVEL)


def _questions(greedy: Sequence[Row], sampled: Sequence[Row], blind: Sequence[Row]) -> list[ProbedQuestion]:
    greedy_rows = {(row["split"], row["id"]): row for row in greedy}
    blind_rows = {(completions[0]["split"], completions[0]["id"]): completions for completions in by_question(blind)}
    result = []
    for completions in by_question(sampled):
        key = completions[0]["split"], completions[0]["id"]
        without_image = blind_rows.get(key, [])
        correct, blind_correct, guess = _correct(completions), _correct(without_image), guess_rate(completions[0])
        result.append(
            ProbedQuestion(
                greedy=greedy_rows[key],
                completions=len(completions),
                correct=correct,
                blind_completions=len(without_image),
                blind_correct=blind_correct,
                guess=guess,
                unread=mean([row["strict_outcome"] == "unread" for row in completions]),
                unique=len({row["parsed"] for row in completions if row["strict_outcome"] != "unread"}),
                supported=supported(correct, len(completions), guess, blind_correct, len(without_image)),
            )
        )
    return result


def _strata(
    questions: Sequence[ProbedQuestion], key: Callable[[Row], str], threshold: float
) -> dict[str, ProbeStratum]:
    names = sorted({name for question in questions if (name := key(question.greedy))})
    return {
        name: _stratum([question for question in questions if key(question.greedy) == name], threshold)
        for name in names
    }


def _stratum(questions: Sequence[ProbedQuestion], threshold: float) -> ProbeStratum:
    greedy = [question.greedy for question in questions]
    groups = groups_of(greedy)
    correct = correct_flags(greedy, "strict_outcome")
    support = [float(question.supported) for question in questions]
    drawn = min(question.completions for question in questions)
    mixed = mean([float(0 < question.correct < question.completions) for question in questions])
    format_failure = mean([question.unread for question in questions])
    support_by_image = mean_interval(support, groups)
    by_k = {str(k): _at_k(questions, k, groups) for k in KS if k <= drawn}
    decision, reason = verdict(
        acc_at_1=mean(correct),
        support=mean(support),
        support_by_image=support_by_image,
        mixed=mixed,
        format_failure=format_failure,
        k=list(by_k)[-1],
        pass_at_k=list(by_k.values())[-1].pass_rate,
        threshold=threshold,
    )
    return ProbeStratum(
        questions=len(questions),
        few=is_few(greedy),
        acc_at_1=mean(correct),
        acc_at_1_wilson=wilson(round(sum(correct)), len(correct)),
        acc_at_1_by_image=mean_interval(correct, groups),
        by_k=by_k,
        support=mean(support),
        support_by_image=support_by_image,
        mixed=mixed,
        format_failure=format_failure,
        unique_answers=mean([question.unique for question in questions]),
        verdict=decision,
        reason=reason,
    )


def _at_k(questions: Sequence[ProbedQuestion], k: int, groups: Sequence[str]) -> ProbeAtK:
    passed = [pass_at(question.completions, question.correct, k) for question in questions]
    blind = [
        pass_at(question.blind_completions, question.blind_correct, k)
        for question in questions
        if question.blind_completions >= k
    ]
    return ProbeAtK(
        pass_rate=mean(passed),
        by_image=mean_interval(passed, groups),
        chance=mean([1 - (1 - question.guess) ** k for question in questions]),
        blind=mean(blind) if blind else None,
    )


def verdict(
    *,
    acc_at_1: float,
    support: float,
    support_by_image: tuple[float, float],
    mixed: float,
    format_failure: float,
    k: str,
    pass_at_k: float,
    threshold: float,
) -> tuple[Verdict, str]:
    """The recommended next stage, and the reason in one sentence.

    Args:
        acc_at_1: strict greedy accuracy.
        support: share of supported questions.
        support_by_image: its interval.
        mixed: share of questions with both correct and incorrect completions.
        format_failure: share of completions without a readable answer in one tag.
        k: completions per question.
        pass_at_k: share of questions that one of them answers.
        threshold: support needed for RL.
    """
    low, high = support_by_image
    unsure = f" (uncertain: [{low:.2f}, {high:.2f}] includes the threshold)" if low < threshold <= high else ""
    reached = f"{support:.2f} of the questions are supported (correct beyond chance and blindness in {k} completions)"
    if format_failure > FORMAT_FAILURE:
        return (
            "SFT first",
            f"{format_failure:.2f} of the completions have no readable answer in one tag, so most rewards are 0.",
        )
    if acc_at_1 >= SOLVED:
        return "neither", f"greedy accuracy is already {acc_at_1:.2f}; little is left to gain."
    if support < threshold:
        third = "a third way is RL with reference completions in each group (method.mix.kind=luffy)"
        return "SFT first", f"only {reached}; {threshold:.2f} is required{unsure}; {third}."
    if mixed < MIXED:
        return (
            "neither",
            f"only {mixed:.2f} of the questions have both correct and incorrect completions: no gradient.",
        )
    return "RL", f"{reached}; greedy accuracy is {acc_at_1:.2f}, Pass@{k} {pass_at_k:.2f}{unsure}."


def _correct(completions: Sequence[Row]) -> int:
    return sum(row["strict_outcome"] == "correct" for row in completions)
