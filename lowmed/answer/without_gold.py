"""Reads and compares answers without a gold answer, for votes.

The reader of `grade.py` may use a gold answer to decide what it reads: yes or no, a date, one of two sides. Here only
the question and its options decide.
"""

from lowmed.answer.choice import read_named
from lowmed.answer.equality import has_order, same_answer
from lowmed.answer.extract import extract
from lowmed.answer.grade import Answer, Question, read_text
from lowmed.answer.normalize import normalize
from lowmed.answer.number import read_number
from lowmed.answer.yes_no import offered_lists, read_yes_no
from lowmed.sample import Sample


def read_without_gold(completion: str, sample: Sample) -> Answer:
    """Read the answer in the only tag of a completion; unread unless there is exactly one.

    Args:
        completion: the completion.
        sample: the question; its gold answers, limits and unit are not used.
    """
    extracted = extract(completion)
    if extracted.text is None or not extracted.strict:
        return Answer(None, extracted.source, extracted.strict, (extracted.problem,) if extracted.problem else ())
    value, problem = _read(extracted.text, sample)
    return Answer(value, extracted.source, True, (problem,) if problem else ())


def agree(first: str, second: str, sample: Sample) -> bool:
    """Whether two answers to one question, as `read_without_gold` read them, are equal."""
    if sample.kind in ("choice", "json") or first == second:
        return first == second
    ordered = sample.kind == "ordered" or (sample.kind == "open" and has_order(sample.question))
    return same_answer(first, second, ordered=ordered) and same_answer(second, first, ordered=ordered)


def chance(value: str, sample: Sample) -> float:
    """The probability of an answer if all that the question offers are equally likely; 0 if these are unknown."""
    if sample.kind == "choice":
        return 1 / len(sample.options)
    if value in ("yes", "no"):
        return 0.5
    offered = offered_lists(sample.question) if sample.kind == "closed" else []
    return next((1 / len(answers) for answers in offered if value in map(normalize, answers)), 0.0)


def _read(text: str, sample: Sample) -> tuple[str | None, str]:
    if sample.kind == "number":
        return read_number(text, gold=text)  # the answer itself shows whether it is a date or a sequence
    if sample.kind == "closed":
        value, problem = read_yes_no(text)
        if value is not None or problem != "no_candidate":
            return value, problem
        for offered in offered_lists(sample.question):
            value, problem = read_named(text, offered)
            if value is not None or problem != "no_candidate":
                return (normalize(value) if value is not None else None), problem
    return read_text(
        text, Question("open" if sample.kind == "closed" else sample.kind, (), sample.options, sample.question)
    )
