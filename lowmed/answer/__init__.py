"""Reads answers from completions and grades them. Evaluation, rewards and `lowmed score` use the same rules."""

from lowmed.answer.contradiction import contradictions
from lowmed.answer.extract import ExtractedAnswer, Source, extract
from lowmed.answer.grade import (
    RULES_VERSION,
    Answer,
    Grade,
    Outcome,
    Question,
    canonical,
    grade,
    question_of,
    read,
    read_text,
)
from lowmed.answer.normalize import normalize, token_f1
from lowmed.answer.yes_no import is_yes_no

__all__ = [
    "RULES_VERSION",
    "Answer",
    "ExtractedAnswer",
    "Grade",
    "Outcome",
    "Question",
    "Source",
    "canonical",
    "contradictions",
    "extract",
    "grade",
    "is_yes_no",
    "normalize",
    "question_of",
    "read",
    "read_text",
    "token_f1",
]
