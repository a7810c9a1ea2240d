"""Whether the words of a sentence stand in an order that no English sentence has.

The rules look at neighbors only, and at words that honest texts hardly ever have in such places. A list of words,
sorted, reversed or shuffled, breaks one of them nearly always.
"""

from itertools import pairwise

from lowmed.answer.findings.function_words import TRANSPARENT
from lowmed.answer.findings.phrases import word_class

_END = ("", "end")
# A phrase follows these at once.
_ARTICLES = frozenset(("a", "an", "the", "its", "their", "no", "without"))
_NO_PHRASE = frozenset({"place", "preposition", "copula", "verb", "and", "or", "scope_end", "comma", "end"})
_PREPOSITIONS = frozenset(("with", "without", "by", "from", "for", "into"))
_NO_OBJECT = frozenset({"copula", "and", "or", "end", "scope_end", "place"})
_REPORTS = frozenset(("shows", "demonstrates", "reveals", "contains", "includes", "indicates", "suggests", "depicts"))
_NO_REPORT = frozenset({"copula", "verb", "scope_end", "and", "or", "end"})
_AFTER_COPULA = frozenset(("been", "being", "be", "located", "situated", "measured", "measuring"))
_UNITS = frozenset(("mm", "cm", "ml", "hu"))


def is_disordered(words: list[str]) -> bool:
    """Whether a sentence has words in an impossible order: "the of", "is is", "with in", a unit without its number."""
    marked = [(word, word_class(word)) for word in words]
    before = ("", "start")
    for here, after in pairwise([*marked, _END]):
        if _is_impossible(before, here, after):
            return True
        before = here
    return False


def _is_impossible(before: tuple[str, str], here: tuple[str, str], after: tuple[str, str]) -> bool:
    word, name = here
    following, following_name = after
    is_an_answer = name == "denial" and before[1] in ("copula", "comma", "start")  # "the answer is no"
    return (
        (word == following and name not in ("number", "comma"))
        or (word in _ARTICLES and following_name in _NO_PHRASE and not is_an_answer)
        or (word in _ARTICLES and (following == "there" or (name == following_name == "determiner")))
        or (name == "place" and word != "to" and following_name in _NO_OBJECT - {"scope_end", "place"})
        or (word in _PREPOSITIONS and following_name in _NO_OBJECT)
        or (word in _REPORTS and following_name in _NO_REPORT)
        or (name == "copula" and _is_no_complement(before, word, after))
        or (word == "there" and before[1] in ("copula", "place", "preposition"))
        or (word == "not" and before[1] in ("number", "determiner", "place", "preposition"))
        or (word in _UNITS and before[1] != "number")
        or (name in ("and", "or", "scope_end") and following_name == "end")
    )


def _is_no_complement(before: tuple[str, str], copula: str, after: tuple[str, str]) -> bool:
    """Whether a copula starts the sentence, ends it, or has another verb after it."""
    if before[1] == "start" and copula not in _AFTER_COPULA:
        return True
    if after[1] == "copula":
        return after[0] not in _AFTER_COPULA
    is_participle = after[0] in TRANSPARENT  # "is demonstrated"
    return after[1] in ("end", "and", "or", "scope_end") and copula not in _AFTER_COPULA and not is_participle
