"""Is RL worth it: does the model already reach right answers, by looking, when it may try several times?

RL sharpens what a model can already do at times (Acc@1 up to Pass@K); it does not add what it never does
(MedBridgeRL, arXiv:2603.01301). Pass@K alone says too much: on yes/no questions a guesser's Pass@4 is 0.94. A question
is therefore supported only where more of its completions are right than guessing and the same model without the image
explain: a one-sided binomial test at 5 % against the larger of the guess rate and the blind rate.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.evaluate.intervals import clustered, wilson
from lowmed.evaluate.metrics import FEW, STRATA, correct_flags, mean, strata
from lowmed.evaluate.pass_at_k import KS, by_question, guess_rate, pass_at

Row = Mapping[str, Any]
# Toolkit's choices: the rule's paper publishes no thresholds.
SUPPORT = 0.25  # at least this share of the questions must be supported for RL
SOLVED = 0.9  # from this greedy accuracy on there is little left to gain
FORMAT_FAILURE = 0.5  # above this share of unread completions the reward has hardly anything to see
MIXED = 0.1  # at least this share of the questions must be right at some times and wrong at others
LEVEL = 0.05


def probe(
    greedy: Sequence[Row], sampled: Sequence[Row], blind: Sequence[Row], *, support: float = SUPPORT
) -> dict[str, Any]:
    """Acc@1, Pass@K and support over all questions, by modality and by kind, each with its verdict.

    Args:
        greedy: scored greedy completions, one a question.
        sampled: scored sampled completions, K a question.
        blind: the same without images.
        support: the threshold of the verdict.
    """
    questions = _questions(greedy, sampled, blind)
    result: dict[str, Any] = {"support_needed": support, "all": _stratum(questions, support)}
    for name in ("modality", "kind"):
        cells = strata([{**question, "cell": STRATA[name](question["greedy"])} for question in questions], _cell)
        result[f"by_{name}"] = {cell: _stratum(rows, support) for cell, rows in cells.items()}
    return result


def supported(right: int, completions: int, guess: float, blind_right: int, blind_replies: int) -> bool:
    """Whether so many right completions are more than guessing and blindness explain.

    The blind rate is (right + 1/2) / (completions + 1), so that no right completion among few is not taken for never.
    """
    from scipy.stats import binom

    explained = max(guess, (blind_right + 0.5) / (blind_replies + 1))
    return bool(binom.sf(right - 1, completions, explained) < LEVEL)


def _questions(greedy: Sequence[Row], sampled: Sequence[Row], blind: Sequence[Row]) -> list[dict[str, Any]]:
    first = {(row["split"], row["id"]): row for row in greedy}
    unseen = {(completions[0]["split"], completions[0]["id"]): completions for completions in by_question(blind)}
    result = []
    for completions in by_question(sampled):
        key = completions[0]["split"], completions[0]["id"]
        without = unseen.get(key, [])
        right = _right(completions)
        result.append(
            {
                "greedy": first[key],
                "replies": len(completions),
                "right": right,
                "blind_replies": len(without),
                "blind_right": _right(without),
                "guess": guess_rate(completions[0]),
                "unread": mean([row["strict_outcome"] == "unread" for row in completions]),
                "unique": len({row["parsed"] for row in completions if row["strict_outcome"] != "unread"}),
                "supported": supported(
                    right, len(completions), guess_rate(completions[0]), _right(without), len(without)
                ),
            }
        )
    return result


def _stratum(questions: Sequence[Row], threshold: float) -> dict[str, Any]:
    groups = [question["greedy"]["group"] for question in questions]
    right = correct_flags([question["greedy"] for question in questions], "strict_outcome")
    support = [float(question["supported"]) for question in questions]
    drawn = min(question["replies"] for question in questions)
    result: dict[str, Any] = {
        "questions": len(questions),
        "few": len(questions) < FEW,
        "acc_at_1": mean(right),
        "acc_at_1_wilson": wilson(round(sum(right)), len(right)),
        "acc_at_1_by_image": clustered(right, groups),
        "at": {str(k): _at(questions, k, groups) for k in KS if k <= drawn},
        "support": mean(support),
        "support_by_image": clustered(support, groups),
        "mixed": mean([float(0 < question["right"] < question["replies"]) for question in questions]),
        "format_failure": mean([question["unread"] for question in questions]),
        "unique_answers": mean([question["unique"] for question in questions]),
    }
    result["verdict"], result["reason"] = verdict(result, threshold)
    return result


def _at(questions: Sequence[Row], k: int, groups: Sequence[str]) -> dict[str, Any]:
    passed = [pass_at(question["replies"], question["right"], k) for question in questions]
    blind = [question for question in questions if question["blind_replies"] >= k]
    return {
        "pass": mean(passed),
        "by_image": clustered(passed, groups),
        "chance": mean([1 - (1 - question["guess"]) ** k for question in questions]),
        "blind": mean([pass_at(question["blind_replies"], question["blind_right"], k) for question in blind])
        if blind
        else None,
    }


def verdict(result: Mapping[str, Any], threshold: float) -> tuple[str, str]:
    """`RL`, `SFT first` or `neither`, and the reason in one sentence."""
    accuracy, support, mixed, unread = (result[key] for key in ("acc_at_1", "support", "mixed", "format_failure"))
    k = list(result["at"])[-1]
    low, high = result["support_by_image"]
    unsure = f" (unsure: [{low:.2f}, {high:.2f}] holds the threshold)" if low < threshold <= high else ""
    reached = f"{support:.2f} of the questions are right beyond chance and blindness in {k} replies"
    if unread > FORMAT_FAILURE:
        return "SFT first", f"{unread:.2f} of the replies have no readable answer in one tag, so rewards see nothing."
    if accuracy >= SOLVED:
        return "neither", f"greedy accuracy is {accuracy:.2f} already; there is little left to gain."
    if support < threshold:
        return "SFT first", f"only {reached}, {threshold:.2f} are needed{unsure}."
    if mixed < MIXED:
        return "neither", f"only {mixed:.2f} of the questions are right at some times and wrong at others: no gradient."
    return "RL", f"{reached}, greedy accuracy is {accuracy:.2f}{unsure}."


def _right(completions: Sequence[Row]) -> int:
    return sum(row["strict_outcome"] == "correct" for row in completions)


def _cell(question: Row) -> str:
    return str(question["cell"])
