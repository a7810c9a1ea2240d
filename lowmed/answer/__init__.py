"""Reads answers from completions and grades them. Evaluation, rewards and `lowmed score` use the same rules."""

from lowmed.answer.contradiction import contradictions
from lowmed.answer.extract import ExtractedAnswer, Source, extract
from lowmed.answer.grade import (
    RULES_VERSION,
    Answer,
    Grade,
    Outcome,
    Question,
    Tier,
    canonical,
    grade,
    question_of,
    read,
    read_boxes,
    read_text,
    tier,
)
from lowmed.answer.normalize import normalize, token_f1
from lowmed.answer.number import another_number
from lowmed.answer.quantity import is_number
from lowmed.answer.tolerance import limits
from lowmed.answer.without_gold import agree, chance, read_without_gold
from lowmed.answer.yes_no import is_yes_no

__all__ = [
    "RULES_VERSION",
    "Answer",
    "ExtractedAnswer",
    "Grade",
    "Outcome",
    "Question",
    "Source",
    "Tier",
    "agree",
    "another_number",
    "canonical",
    "chance",
    "contradictions",
    "extract",
    "grade",
    "is_number",
    "is_yes_no",
    "limits",
    "normalize",
    "question_of",
    "read",
    "read_boxes",
    "read_text",
    "read_without_gold",
    "tier",
    "token_f1",
]
