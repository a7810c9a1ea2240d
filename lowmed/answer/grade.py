"""An answer read out of a completion, and its verdict against the gold one."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from lowmed.answer.choice import read_choice, read_named
from lowmed.answer.extract import Source, extract
from lowmed.answer.negation import noncommittal
from lowmed.answer.normalize import normalize, plain, same
from lowmed.answer.yes_no import is_yes_no, offered, read_yes_no
from lowmed.sample import Kind, Sample

RULES_VERSION = 1

Outcome = Literal["correct", "incorrect", "unread"]


@dataclass(frozen=True, slots=True)
class Question:
    """What reading needs to know of a question. `golds` are acceptable answers, texts and never letters."""

    kind: Kind
    golds: tuple[str, ...]
    options: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read: the option's text, `yes` or `no`, or a normalised text; None is unread, and `flags` say why."""

    value: str | None
    source: Source
    strict: bool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grade:
    """Lenient and strict verdict of one completion. Strict counts only a single tag, or a single box without a tag."""

    outcome: Outcome
    strict_outcome: Outcome


def question_of(sample: Sample) -> Question:
    """What reading needs to know of a sample."""
    return Question(sample.kind, (sample.answer,), sample.options, sample.question)


@lru_cache(maxsize=256)  # the rewards of a recipe read the same completions, one reward after the other
def read(text: str, question: Sample | Question, finish_reason: str = "stop") -> Answer:
    """The answer that a completion gives to a question; unread where there is no single one, never a guess.

    `finish_reason` "length" says that the token limit cut the completion.
    """
    spec = question_of(question) if isinstance(question, Sample) else question
    result = extract(text, finish_reason)
    flags = (result.flag,) if result.flag else ()
    if result.text is None:
        return Answer(None, result.source, result.strict, flags)
    value, flag = read_text(result.text, spec)
    return Answer(value, result.source, result.strict, (*flags, flag) if flag else flags)


def read_text(text: str, question: Question) -> tuple[str | None, str]:
    """The value of an answer text that was already found in its completion, or None and a flag that says why."""
    if question.kind == "choice":
        return read_choice(text, question.options)
    if question.kind == "json":
        value = canonical(text)
        return value, "" if value is not None else "no_json"
    if question.kind == "closed":
        ladder = _closed_ladder(question.golds, question.question)
        if ladder == "yes_no":
            return read_yes_no(text)
        if ladder:
            value, flag = read_named(text, ladder)
            if value is not None or flag != "no_candidate":
                return (normalize(value) if value is not None else None), flag
    return _read_open(text, question.golds)


@lru_cache(maxsize=8192)
def _closed_ladder(golds: tuple[str, ...], question: str) -> Literal["yes_no"] | tuple[str, ...]:
    return "yes_no" if any(map(is_yes_no, golds)) else offered(question, golds)


def _read_open(text: str, golds: tuple[str, ...]) -> tuple[str | None, str]:
    bare = plain(text)
    for gold in golds:
        if same(bare, gold):
            return normalize(gold) or gold.strip(), ""
    normal = normalize(bare)
    if not any(letter.isalnum() for letter in normal):
        return None, "empty"
    return (None, "noncommittal") if noncommittal(normal) else (normal, "")


def grade(answer: Answer, question: Sample | Question) -> Grade:
    """The verdict on an answer, lenient and strict."""
    spec = question_of(question) if isinstance(question, Sample) else question
    outcome: Outcome = "unread"
    if answer.value is not None:
        outcome = "correct" if _right(answer.value, spec) else "incorrect"
    return Grade(outcome, outcome if answer.strict else "unread")


def _right(value: str, question: Question) -> bool:
    if question.kind == "choice":
        return value in question.golds
    if question.kind == "json":
        return any(value == canonical(gold) for gold in question.golds)
    if question.kind == "closed" and _closed_ladder(question.golds, question.question) == "yes_no":
        return any(value == read_yes_no(gold)[0] for gold in question.golds)
    return any(same(value, gold) for gold in question.golds)


def canonical(text: str) -> str | None:
    """JSON text in one spelling (keys sorted, texts normalised, lists of texts without order), or None."""
    body = text.strip()
    if body.startswith("```"):
        body = body.strip("`").removeprefix("json").strip()
    try:
        return json.dumps(_canonical(json.loads(body)), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {normalize(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        inner = [_canonical(item) for item in value]
        return sorted(inner) if inner and all(isinstance(item, str) for item in inner) else inner
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return normalize(value) if isinstance(value, str) else value
