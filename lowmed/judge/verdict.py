"""A verdict: what rules settle without a call, and what counts as one in a judge's completion."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lowmed import answer
from lowmed.judge.rubric import ANSWER, Query

LONGEST_REASON_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate is accepted, and why; None is no score: the judge gave no usable completion.

    `by` says who settled it: a `rule` of the answer reader, the `judge`, its `cache`, or nobody (`failed`).
    """

    value: bool | None
    why: str
    by: Literal["rule", "cache", "judge", "failed"]


class MalformedError(ValueError):
    """A judge's completion that holds no verdict."""


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    reason: str
    verdict: str


def by_rule(query: Query) -> Verdict | None:
    """What needs no judge: an empty or noncommittal text, an answer that is the gold one, or has its opposite.

    A contradiction by polarity alone is left to the judge, since "no abnormality" and "lungs are clear" agree.
    """
    if query.rubric is not ANSWER:
        empty = not any(letter.isalnum() for letter in query.text)
        return Verdict(False, "empty", "rule") if empty else None
    asked = answer.Question("open", query.golds, (), query.question)
    value, flag = answer.read_text(query.text, asked)
    if value is None:
        return Verdict(False, flag, "rule")
    if answer.grade(answer.Answer(value, "whole", strict=False), asked).outcome == "correct":
        return Verdict(True, "the same as the gold answer", "rule")
    against = [set(answer.contradictions(value, gold)) - {"polarity"} for gold in query.golds]
    if all(against):
        named = ", ".join(sorted(set.union(*against)))
        return Verdict(False, f"contradicts the gold answer ({named})", "rule")
    return None


def read(content: Any, query: Query, code: str) -> Verdict:
    """The verdict in a server's answer: one JSON object of exactly the agreed form that gives the code back.

    Raises:
        MalformedError: it is anything else. Nothing is searched for in it, repaired or guessed.
    """
    try:
        text = content["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise MalformedError("the answer is no chat completion") from None
    if not isinstance(text, str):
        raise MalformedError("the reply is empty")
    try:
        completion = _Reply.model_validate_json(text.strip())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise MalformedError(f"the reply is not of the agreed form ({place or 'JSON'}): {first['msg']}") from None
    if completion.id != code:
        raise MalformedError("the reply gives back another code")
    if completion.verdict not in (query.rubric.accept, query.rubric.reject):
        raise MalformedError(f"the verdict {completion.verdict[:40]!r} is not one of the two")
    if not completion.reason.strip():
        raise MalformedError("the verdict has no reason")
    return Verdict(
        completion.verdict == query.rubric.accept, completion.reason.strip()[:LONGEST_REASON_CHARACTERS], "judge"
    )


def tokens(content: Any) -> tuple[int, int]:
    """Prompt and completion tokens that the server counted; 0 where it does not say."""
    usage = content.get("usage") if isinstance(content, dict) else None
    counts = [usage.get(key) if isinstance(usage, dict) else 0 for key in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if isinstance(count, int) and count > 0 else 0 for count in counts)
    return prompt, completion
