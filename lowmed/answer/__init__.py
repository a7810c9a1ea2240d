"""How an answer is read out of a reply, and graded: one set of rules for evaluation, rewards and foreign outputs."""

from lowmed.answer.closed import is_yes_no
from lowmed.answer.contradiction import contradictions
from lowmed.answer.reading import RULES_VERSION, Answer, Asked, Grade, Outcome, asked, canonical, grade, read, read_text
from lowmed.answer.reply import Found, Source, find
from lowmed.answer.text import normalize, token_f1

__all__ = [
    "RULES_VERSION",
    "Answer",
    "Asked",
    "Found",
    "Grade",
    "Outcome",
    "Source",
    "asked",
    "canonical",
    "contradictions",
    "find",
    "grade",
    "is_yes_no",
    "normalize",
    "read",
    "read_text",
    "token_f1",
]
