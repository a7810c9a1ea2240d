"""Who denies what: the reach of a negation, and completions that commit to nothing."""

import re
from functools import lru_cache

from lowmed.answer.normalize import normalize

# Marks that no answer contains, for the ends of clauses and sentences; normalisation leaves them alone.
_CLAUSE, _SENTENCE = "¦", "‖"
_REACH_CHARACTERS = 400  # no sentence denies further, and long completions stay linear to read
_CLAUSE_END = re.compile(r",(?!\d)")
_SENTENCE_END = re.compile(r"\.(?!\d)|[;!?\n]")
_SCOPE_END = re.compile(rf"{_CLAUSE}|{_SENTENCE}|\b(?:but|however|although|except|with)\b")
_DENIAL = re.compile(
    r"\b(?:no|not|without|never|absent|absence of|rules? out|ruled out|excludes?|rather than|instead of|neither|nor"
    r"|negative for|free of|denies|cannot|unlikely|non|\w+n t)\b"
)
_DENIED_AFTER = re.compile(
    r"^ (?:(?:is|are|was|were|has been|have been|can be|could be|may be|seems?|appears?|looks?|would be) )?"
    r"(?:\w+ly |also |most |less |more )*"
    r"(?:not|absent|excluded|unlikely|likely less|less likely|ruled out|incorrect|wrong|\w+n t)\b"
)
_LIST_GOES_ON = re.compile(rf"^[^{_SENTENCE}]*\b(?:or|nor)\b")

_KNOWS = r"(?:know|tell|say|answer|determine|assess|provide|identify|count|select|choose)"
_KNOWN = r"(?:known|told|said|answered|determined|assessed|provided|identified|counted|selected|chosen)"
_NONCOMMITTAL = re.compile(
    r"^no (?:idea|answer|clue|way|comment|opinion)\b"
    r"|^(?:it is |it s |i am |i m |this is |that is )?"
    r"(?:not (?:clear|sure|certain|known|possible)|unclear|uncertain|unsure|unknown|indeterminate|inconclusive)\b"
    r"|^(?:i m sorry|i am sorry|sorry|as an ai)\b|^n/a$"
    r"|\b(?:do|does|did) (?:not|n t) know\b|\b(?:don|doesn|didn) t know\b"
    rf"|\b(?:cannot|can not|can t|could not|couldn t|unable to|impossible to|not (?:possible|able) to|hard to"
    rf"|difficult to) (?:\w+ly )?(?:{_KNOWS}|be (?:\w+ly )?{_KNOWN})\b"
    r"|\b(?:not enough|no enough|insufficient) information\b"
    r"|^我?(?:不知道|不清楚|不确定|无法)"
)


@lru_cache(maxsize=256)
def noncommittal(normalised: str) -> bool:
    """Whether a normalised text refuses to answer, or says that the answer is not known."""
    return _NONCOMMITTAL.search(normalised) is not None


def clauses(text: str) -> str:
    """The normalised text with marks where clauses and sentences end, for `affirmed` and `denied`."""
    return normalize(_SENTENCE_END.sub(f" {_SENTENCE} ", _CLAUSE_END.sub(f" {_CLAUSE} ", text)))


def affirmed(term: str, marked: str) -> bool:
    """Whether a normalised term stands at least once in marked clauses without being denied."""
    words = rf"(?: {_CLAUSE})? ".join(map(re.escape, term.split()))
    result = re.finditer(rf"(?<!\S){words}(?!\S)", marked)
    return any(not negated(marked, place.start(), place.end()) for place in result)


def negates(after: str) -> bool:
    """Whether what follows some words denies them, within their clause: "is absent", "can be excluded"."""
    closest = _SCOPE_END.search(after)
    return _DENIED_AFTER.match(after[: closest.start()] if closest else after) is not None


def negated(marked: str, start: int, end: int) -> bool:
    """Whether the words at that place are denied: before them in their clause, in a list that goes on, or after."""
    if negates(marked[end : end + _REACH_CHARACTERS]):
        return True
    opened = max(marked.rfind(_SENTENCE, 0, start), start - _REACH_CHARACTERS, 0)
    stops = list(_SCOPE_END.finditer(marked, opened, start))
    if _DENIAL.search(marked, stops[-1].end() if stops else opened, start):
        return True
    # "No mass, nodule or effusion" denies all three; a comma alone would end the reach.
    while stops and stops[-1][0] == _CLAUSE and _LIST_GOES_ON.match(marked[stops[-1].end() : end + _REACH_CHARACTERS]):
        comma = stops.pop()
        if _DENIAL.search(marked, stops[-1].end() if stops else opened, comma.start()):
            return True
    return False
