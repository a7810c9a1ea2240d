"""Similarity of two texts by their words: ROUGE-L and Google BLEU.

Words are compared without case and punctuation. The values are those of the packages rouge-score (without stemming) and
nltk on such words; both are left out, because nltk is 14 MB and takes half a second to import.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import regex

MAX_N = 4  # n-grams of 1 to 4 words
_WORD = regex.compile(r"\p{Han}|[^\W_\p{Han}]+")


@lru_cache(maxsize=4096)
def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, casefolded. Each Chinese character is one word."""
    return tuple(_WORD.findall(text.casefold()))


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L F1 (Lin 2004) in [0, 1]: twice the longest common subsequence of words over the words of both texts."""
    words, others = words_of(text), words_of(reference)
    return 2 * _common_subsequence(words, others) / (len(words) + len(others)) if words and others else 0.0


def google_bleu(text: str, reference: str) -> float:
    """Google BLEU in [0, 1]: shared n-grams of 1 to 4 words over those of the text with more of them.

    It is the smaller of precision and recall (Wu et al. 2016, arXiv 1609.08144, section 4.3, where it is called GLEU).
    So a longer text does not gain by its length, and neither does a shorter one.
    """
    one, other = _ngrams(text), _ngrams(reference)
    most = max(one.total(), other.total())
    return (one & other).total() / most if most else 0.0


@lru_cache(maxsize=4096)
def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    words = words_of(text)
    return Counter(
        words[start : start + size] for size in range(1, MAX_N + 1) for start in range(len(words) - size + 1)
    )


def _common_subsequence(words: Sequence[str], others: Sequence[str]) -> int:
    """The length of the longest common subsequence, with the bits of one integer as a row of the table (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << index
    full = row = (1 << len(words)) - 1
    for word in others:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(words) - row.bit_count()
