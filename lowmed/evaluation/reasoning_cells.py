"""Four cells of an evaluation: whether the reasoning is right, and whether the answer is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lowmed import answer
from lowmed.answer import Outcome
from lowmed.evaluation.intervals import mean_interval
from lowmed.evaluation.records import ConditionalShare, ReasoningCells
from lowmed.evaluation.score import question_of_row
from lowmed.rewards.answer_follows import conclusion, is_stated
from lowmed.rewards.format import thought, thought_fault

Row = Mapping[str, Any]


def reasoning_cells(rows: Sequence[Row]) -> ReasoningCells | None:
    """Counts of reasoning by answer, and both conditional shares; None if no completion has a think block.

    An answer is right by its lenient grade. Rows whose reasoning cannot be read are counted separately.

    Args:
        rows: scored rows with their `group`.
    """
    if not any("<think" in (row["completion"] or "") for row in rows):
        return None
    pairs = [(reasoning_outcome(row), row["outcome"] == "correct") for row in rows]
    counts = Counter(pairs)
    groups = [str(row["group"]) for row in rows]
    triples = [(reasoning, right, group) for (reasoning, right), group in zip(pairs, groups, strict=True)]
    reasoning_right = [(right, group) for reasoning, right, group in triples if reasoning == "correct"]
    answer_right = [(kind == "correct", group) for kind, right, group in triples if right and kind != "unread"]
    return ReasoningCells(
        both_right=counts["correct", True],
        only_reasoning_right=counts["correct", False],
        only_answer_right=counts["incorrect", True],
        both_wrong=counts["incorrect", False],
        unread_answer_right=counts["unread", True],
        unread_answer_wrong=counts["unread", False],
        answer_right_if_reasoning_right=_share(reasoning_right),
        reasoning_right_if_answer_right=_share(answer_right),
    )


def reasoning_outcome(row: Row) -> Outcome:
    """Whether the think block of a scored row comes to the gold answer.

    Its last sentence that names an answer counts, by the rules of the answer reader. For an open question, reasoning
    that affirms a gold answer is right; reasoning that only denies it, or affirms the wrong answer given, is wrong.
    Reasoning is unread without a closed think block before an answer, if it repeats itself or names no answer, and on
    questions for JSON or a long text.
    """
    question = question_of_row(row, str(row.get("id")))
    text = thought(row["completion"] or "")
    if text is None or thought_fault(text) or question.kind in ("json", "text", "report"):
        return "unread"
    if question.kind == "open":
        return _open_outcome(text, question, row["parsed"])
    value = conclusion(text, question)
    if value is None:
        return "unread"
    return answer.grade(answer.Answer(value, "whole", strict=True), question).outcome


def _open_outcome(text: str, question: answer.Question, parsed: str | None) -> Outcome:
    golds = [is_stated(text, answer.normalize(gold)) for gold in question.golds]
    if True in golds:
        return "correct"
    return "incorrect" if False in golds or (parsed and is_stated(text, parsed)) else "unread"


def _share(pairs: Sequence[tuple[bool, str]]) -> ConditionalShare | None:
    if not pairs:
        return None
    flags, groups = [float(flag) for flag, _ in pairs], [group for _, group in pairs]
    return ConditionalShare(n=len(pairs), share=sum(flags) / len(flags), by_image=mean_interval(flags, groups))
