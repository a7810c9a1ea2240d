"""Finds what a text denies, and texts that commit to no answer."""

import re
from functools import lru_cache

from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.normalize import normalize

# Marks for the ends of clauses and sentences. No answer contains them, and normalization keeps them.
_CLAUSE, _SENTENCE = "¦", "‖"
_REACH_CHARACTERS = 400  # longer than any denial reaches; keeps the reader linear on long completions
_CLAUSE_END = re.compile(r",(?!\d)")
_SENTENCE_END = re.compile(r"\.(?!\d)|[;!?\n]")
_SCOPE_END = re.compile(rf"{_CLAUSE}|{_SENTENCE}|\b{one_of(ALL.scope_ends)}\b")
_DENIAL = re.compile(rf"\b{one_of(ALL.denials)}\b")
_DENIED_AFTER = re.compile(rf"^ (?:{one_of(ALL.copulas)} )?(?:{one_of(ALL.adverbs)} )*{one_of(ALL.denied_after)}\b")
_LIST_CONTINUES = re.compile(rf"^[^{_SENTENCE}]*\b{one_of(ALL.list_joins)}\b")
_REFUSAL = re.compile(one_of(ALL.refusals))


@lru_cache(maxsize=256)
def is_noncommittal(normal: str) -> bool:
    """Whether a normalized text refuses to answer, or states that the answer is unknown."""
    return _REFUSAL.search(normal) is not None


def mark_clauses(text: str) -> str:
    """The normalized text with marks at the ends of clauses and sentences, for `is_affirmed` and `is_negated`."""
    return normalize(_SENTENCE_END.sub(f" {_SENTENCE} ", _CLAUSE_END.sub(f" {_CLAUSE} ", text)))


def is_affirmed(term: str, marked: str) -> bool:
    """Whether a normalized term occurs in marked text at least once without being denied."""
    words = rf"(?: {_CLAUSE})? ".join(map(re.escape, term.split()))
    occurrences = re.finditer(rf"(?<!\S){words}(?!\S)", marked)
    return any(not is_negated(marked, occurrence.start(), occurrence.end()) for occurrence in occurrences)


def denies_preceding(following: str) -> bool:
    """Whether the text after some words denies them within the clause: "is absent", "can be excluded"."""
    scope_end = _SCOPE_END.search(following)
    return _DENIED_AFTER.match(following[: scope_end.start()] if scope_end else following) is not None


def is_negated(marked: str, start: int, end: int) -> bool:
    """Whether the words at [start, end) of marked text are denied.

    The denial may stand before them in their clause, at the start of the list that they belong to, or after them.
    """
    if denies_preceding(marked[end : end + _REACH_CHARACTERS]):
        return True
    scope_start = max(marked.rfind(_SENTENCE, 0, start), start - _REACH_CHARACTERS, 0)
    stops = list(_SCOPE_END.finditer(marked, scope_start, start))
    if _DENIAL.search(marked, stops[-1].end() if stops else scope_start, start):
        return True
    # "No mass, nodule or effusion" denies all three, so a comma within such a list does not end the reach.
    while (
        stops and stops[-1][0] == _CLAUSE and _LIST_CONTINUES.match(marked[stops[-1].end() : end + _REACH_CHARACTERS])
    ):
        comma = stops.pop()
        if _DENIAL.search(marked, stops[-1].end() if stops else scope_start, comma.start()):
            return True
    return False
