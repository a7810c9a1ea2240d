"""Why a completion cannot become an explanation."""

from collections.abc import Callable

from lowmed import answer
from lowmed.answer.lexicon import ALL
from lowmed.control_tokens import control_token
from lowmed.distillation.hints import mentions_hint
from lowmed.rewards.answer_follows import AnswerFollows
from lowmed.rewards.format import Format, thought, thought_fault, words
from lowmed.rewards.hacks import detect_hacks, is_attack
from lowmed.sample import Sample

REJECTED = "request rejected by the server"
TRUNCATED = "truncated"
FORM = "not in the requested form"
EMPTY = "no reasoning beyond question and answer"
LOOP = "reasoning repeats itself"
UNREAD = "answer unread"
WRONG = "answer wrong"
CONTRADICTION = "reasoning contradicts the answer"
HACK = "known hack"
HINT = "mentions the given answer"
CONTROL = "contains a control token"
MIN_OWN_WORDS = 3
REJECTED_REASON = "rejected"  # the finish reason of `evaluation.endpoint`, which imports httpx
_NO_COMPLETION = {REJECTED_REASON: REJECTED, "length": TRUNCATED}
_FAULTS = {"empty think block": EMPTY, "think block repeats itself": LOOP}
_in_form = Format(completion_format="think_answer")
_follows = AnswerFollows(completion_format="think_answer")


def is_right(sample: Sample, completion: str, finish_reason: str) -> bool:
    """Whether the answer is right, in exactly one tag."""
    return answer.grade(answer.read(completion, sample, finish_reason), sample).strict_outcome == "correct"


def fault(sample: Sample, completion: str, finish_reason: str, *, hinted: bool = False) -> str:
    """Why the reasoning of a completion is not kept; "" if it is.

    Args:
        sample: the question, without a hint.
        completion: the completion, in the form `think_answer`.
        finish_reason: `length` if the token limit cut it, `rejected` if a server sent none.
        hinted: whether the prompt showed the gold answer.
    """
    if finish_reason in _NO_COMPLETION:
        return _NO_COMPLETION[finish_reason]
    block = thought(completion)
    if block is not None and (problem := thought_fault(block)):
        return _FAULTS[problem]
    text = reasoning(completion)
    if _in_form(sample, completion).value != 1:
        return FORM
    read = answer.read(completion, sample)
    if read.value is None or not read.strict:
        return UNREAD
    if not is_right(sample, completion, finish_reason):
        return WRONG
    checks: dict[str, Callable[[], bool]] = {
        CONTROL: lambda: bool(control_token(text)),
        HACK: lambda: is_attack(text) or bool(detect_hacks(sample, completion, "think_answer")),
        EMPTY: lambda: len(set(own_words(sample, text))) < MIN_OWN_WORDS,
        CONTRADICTION: lambda: _contradicts(sample, completion, text, str(read.value)),
        HINT: lambda: hinted and mentions_hint(text),
    }
    return next((reason for reason, applies in checks.items() if applies()), "")


def reasoning(completion: str) -> str:
    """The text of the think block; "" without a single one."""
    return (thought(completion) or "").strip()


def own_words(sample: Sample, text: str) -> tuple[str, ...]:
    """The words of a reasoning that are not in its question, options or short answer, in their order.

    Equal ones in many questions are a template, with the words of each question filled in.
    """
    given = [sample.question, *sample.options]
    given += [sample.answer, *sample.accepted] if sample.kind not in ("json", "text", "report") else []
    known = {word for part in given for word in words(part)}
    return tuple(word for word in words(text) if word not in known)


def _contradicts(sample: Sample, completion: str, text: str, value: str) -> bool:
    """Whether the reasoning concludes another answer, ends with the other of yes and no, or names the other side only.

    A number that differs is no contradiction: reasoning names several.
    """
    if sample.kind in ("json", "text", "report"):
        return False
    stated, gold = (_sides(part) for part in (text, sample.answer))
    last = words(text)[-1]
    ends = "yes" if last in ALL.yes_in_text else "no" if last in ALL.no_in_text else value
    return (
        _follows(sample, completion).value == 0
        or (value in ("yes", "no") and ends != value)
        or (len(stated) == len(gold) == 1 and stated != gold)
    )


def _sides(text: str) -> set[str]:
    named = set(answer.normalize(text).split())
    if named & set(ALL.both_sides):
        return {"left", "right"}
    return {side for side, names in (("left", ALL.left), ("right", ALL.right)) if named & set(names)}
