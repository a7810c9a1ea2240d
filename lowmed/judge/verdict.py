"""A verdict: by rule without a request, or parsed from a judge's completion."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lowmed import answer
from lowmed.judge.rubric import ANSWER, Query

LONGEST_REASON_CHARACTERS = 500
MOST_TOKENS = 10**9  # a server that counts more of them does not count


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate is accepted, and why; `value` is None if the judge failed, which is not a score of 0.

    `by` is the origin: a `rule` of the answer grader, the `judge`, its `cache`, or `failed`.
    """

    value: bool | None
    why: str
    by: Literal["rule", "cache", "judge", "failed"]


class MalformedError(ValueError):
    """A judge's completion without a valid verdict."""


class _JudgeCompletion(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    reason: str
    verdict: str


def by_rule(query: Query) -> Verdict | None:
    """Settle by rule: an empty or noncommittal text, an answer equal to the gold answer, or one with the opposite word.

    A contradiction in polarity alone is left to the judge, because "no abnormality" and "lungs are clear" agree.
    """
    if query.rubric is not ANSWER:
        empty = not any(letter.isalnum() for letter in query.text)
        return Verdict(False, "empty", "rule") if empty else None
    question = answer.Question("open", query.golds, (), query.question)
    value, flag = answer.read_text(query.text, question)
    if value is None:
        return Verdict(False, flag, "rule")
    if answer.grade(answer.Answer(value, "whole", strict=False), question).outcome == "correct":
        return Verdict(True, "the same as the gold answer", "rule")
    contradictions = [set(answer.contradictions(value, gold)) - {"polarity"} for gold in query.golds]
    if all(contradictions):
        named = ", ".join(sorted(set.union(*contradictions)))
        return Verdict(False, f"contradicts the gold answer ({named})", "rule")
    return None


def read(content: Any, query: Query, code: str) -> Verdict:
    """Parse the verdict: exactly one JSON object of the required schema that repeats the code.

    Raises:
        MalformedError: anything else. Nothing is searched for, repaired or guessed.
    """
    try:
        text = content["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise MalformedError("the response is not a chat completion") from None
    if not isinstance(text, str):
        raise MalformedError("the completion is empty")
    try:
        completion = _JudgeCompletion.model_validate_json(text.strip())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise MalformedError(f"the completion does not match the schema ({place or 'JSON'}): {first['msg']}") from None
    if completion.id != code:
        raise MalformedError("the completion repeats another code")
    if completion.verdict not in (query.rubric.accept, query.rubric.reject):
        raise MalformedError(f"the verdict {completion.verdict[:40]!r} is not one of the two")
    if not completion.reason.strip():
        raise MalformedError("the verdict has no reason")
    return Verdict(
        completion.verdict == query.rubric.accept, completion.reason.strip()[:LONGEST_REASON_CHARACTERS], "judge"
    )


def tokens(content: Any) -> tuple[int, int]:
    """Prompt and completion tokens as the server counted them; 0 if it did not."""
    usage = content.get("usage") if isinstance(content, dict) else None
    counts = [usage.get(key) if isinstance(usage, dict) else 0 for key in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if type(count) is int and 0 < count < MOST_TOKENS else 0 for count in counts)
    return prompt, completion
