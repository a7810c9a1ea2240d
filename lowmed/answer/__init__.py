"""How an answer is read out of a completion, and graded: one set of rules for evaluation, rewards and foreign outputs."""

from lowmed.answer.contradiction import contradictions
from lowmed.answer.extract import Extracted, Source, extract
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
    "Extracted",
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
