"""Reads the answer of a completion and grades it against the gold answer."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from lowmed.answer.choice import read_choice, read_named
from lowmed.answer.equality import has_order, same_answer
from lowmed.answer.extract import Source, extract
from lowmed.answer.negation import is_noncommittal
from lowmed.answer.normalize import normalize, strip_markup
from lowmed.answer.number import read_number, same_number
from lowmed.answer.quantity import parse_quantity
from lowmed.answer.report import read_report
from lowmed.answer.span import in_span
from lowmed.answer.yes_no import is_yes_no, offered_answers, read_yes_no
from lowmed.boxes import THOUSANDTHS, Box, Size, all_right, boxes_text, parse_boxes
from lowmed.sample import Kind, Sample

RULES_VERSION = 3

Outcome = Literal["correct", "incorrect", "unread"]
Tier = Literal["exact", "span", "none"]


@dataclass(frozen=True, slots=True)
class Question:
    """The parts of a sample that the reader uses. `golds` are the acceptable answers: texts, never letters.

    `unit` and `limits`, the smallest and the largest right number, apply to the kind `number`; see `Sample`.
    `image_size` and `box_grid` apply to the kind `boxes`: an answer is in units of the grid, the gold in pixels.
    Without a size both are in the same unit.
    """

    kind: Kind
    golds: tuple[str, ...]
    options: tuple[str, ...] = ()
    question: str = ""
    unit: str = ""
    limits: tuple[str, str] = ("", "")
    image_size: Size = (0, 0)
    box_grid: Size = THOUSANDTHS


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer that was read: an option's text, `yes` or `no`, or a normalized text.

    `value` is None if no answer could be read, and `flags` give the reasons.
    """

    value: str | None
    source: Source
    strict: bool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grade:
    """The lenient and the strict outcome of one completion. The strict one is `unread` if the answer is not strict."""

    outcome: Outcome
    strict_outcome: Outcome


def question_of(sample: Sample) -> Question:
    """The question of a sample, as the reader takes it."""
    limits = (sample.lower, sample.upper)
    return Question(
        sample.kind,
        (sample.answer, *sample.accepted),
        sample.options,
        sample.question,
        sample.unit,
        limits,
        sample.image_size,
        sample.box_grid,
    )


@lru_cache(maxsize=256)  # each reward of a recipe reads the same completions
def read(completion: str, question: Sample | Question, finish_reason: str = "stop") -> Answer:
    """Read the answer of a completion. It stays unread unless there is exactly one; the reader never guesses.

    `finish_reason` is "length" if the token limit cut the completion.
    """
    if isinstance(question, Sample):
        question = question_of(question)
    extracted = extract(completion, finish_reason)
    flags = (extracted.problem,) if extracted.problem else ()
    text = extracted.text
    is_json = extracted.source == "json"
    if question.kind == "report":
        text = extracted.tail or text  # a report is everything that was written, whatever phrase or key is in it
    elif extracted.tail and (question.kind == "json" if is_json else question.kind == "choice" or _is_yes_no(question)):
        text, flags = extracted.tail, ()  # the verdict may stand anywhere, and may be revoked later
    if text is None:
        return Answer(None, extracted.source, extracted.strict, flags)
    value, problem = read_text(text, question)
    return Answer(value, extracted.source, extracted.strict, (*flags, problem) if problem else flags)


def read_text(text: str, question: Question) -> tuple[str | None, str]:
    """Read the value of an answer text that was extracted already; None and the problem if there is none."""
    if question.kind == "choice":
        return read_choice(text, question.options, question.question)
    if question.kind == "json":
        value = canonical(text)
        return value, "" if value is not None else "no_json"
    if question.kind == "report":
        return read_report(text)
    if question.kind == "boxes":
        boxes, problem = read_boxes(text, question)
        return (boxes_text(boxes) if boxes is not None else None), problem
    if question.kind == "closed":
        answers = _closed_answers(question.golds, question.question)
        if answers == "yes_no":
            return read_yes_no(text)
        if answers:
            value, problem = read_named(text, answers)
            if value is not None or problem != "no_candidate":
                return (normalize(value) if value is not None else None), problem
    if question.kind == "number":
        return read_number(text, question.golds[0], question.unit)
    return _read_open(text, question)


def read_boxes(text: str, question: Question) -> tuple[tuple[Box, ...] | None, str]:
    """The boxes of an extracted answer in pixels of the original image; None and the problem if there are none."""
    boxes, problem = parse_boxes(text)
    if boxes is None or not min(question.image_size):
        return boxes, problem
    across, down = (size / units for size, units in zip(question.image_size, question.box_grid, strict=True))
    return tuple(box.scaled(across, down) for box in boxes), ""


def _is_yes_no(question: Question) -> bool:
    return question.kind == "closed" and _closed_answers(question.golds, question.question) == "yes_no"


@lru_cache(maxsize=8192)
def _closed_answers(golds: tuple[str, ...], question: str) -> Literal["yes_no"] | tuple[str, ...]:
    """The possible answers of a closed question, as far as its gold answers and its text show them."""
    return "yes_no" if any(map(is_yes_no, golds)) else offered_answers(question, golds)


def _read_open(text: str, question: Question) -> tuple[str | None, str]:
    bare = strip_markup(text)
    for gold in question.golds:
        if same_answer(bare, gold, ordered=_is_ordered(question)):
            quantity = parse_quantity(gold)  # the normal form drops a leading sign
            return (str(quantity) if quantity else normalize(gold) or gold.strip()), ""
    normal = normalize(bare)
    if not any(letter.isalnum() for letter in normal):
        return None, "empty"
    return (None, "noncommittal") if is_noncommittal(normal) else (normal, "")


def grade(answer: Answer, question: Sample | Question) -> Grade:
    """Grade an answer, lenient and strict."""
    if isinstance(question, Sample):
        question = question_of(question)
    outcome: Outcome = "unread"
    if answer.value is not None:
        outcome = "correct" if _is_correct(answer.value, question) else "incorrect"
    return Grade(outcome, outcome if answer.strict else "unread")


def tier(completion: str, question: Sample | Question, finish_reason: str = "stop") -> Tier:
    """How an open answer agrees with a gold answer: `exact` as `grade` has it, `span` inside a sentence, or not at all.

    Other kinds of questions, and closed ones with yes or no, have no span tier.
    """
    if isinstance(question, Sample):
        question = question_of(question)
    if grade(read(completion, question, finish_reason), question).outcome == "correct":
        return "exact"
    extracted = extract(completion, finish_reason)
    text = extracted.tail if extracted.source in ("phrase", "whole") else extracted.text
    if question.kind not in ("open", "closed") or _is_yes_no(question) or not text:
        return "none"
    return "span" if any(in_span(text, gold, question.question) for gold in question.golds) else "none"


def _is_correct(value: str, question: Question) -> bool:
    if question.kind == "choice":
        return value in question.golds
    if question.kind == "json":
        return any(value == canonical(gold) for gold in question.golds)
    if question.kind == "report":
        return any(value == read_report(gold)[0] for gold in question.golds)
    if question.kind == "boxes":
        predicted = parse_boxes(value)[0] or ()
        return any(all_right(parse_boxes(gold)[0] or (), predicted) for gold in question.golds)
    if _is_yes_no(question):
        return any(value == read_yes_no(gold)[0] for gold in question.golds)
    if question.kind == "number":
        return any(same_number(value, gold, question.unit, question.limits) for gold in question.golds)
    return any(same_answer(value, gold, ordered=_is_ordered(question)) for gold in question.golds)


def _is_ordered(question: Question) -> bool:
    return question.kind == "ordered" or (question.kind == "open" and has_order(question.question))


def canonical(text: str) -> str | None:
    """JSON text in canonical form: keys sorted, texts normalized, lists of texts sorted. None if it is not JSON."""
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
