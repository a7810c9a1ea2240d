"""Normalizes answer texts: the normal form, its tokens, and token-F1."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

import regex

from lowmed.answer.lexicon import ALL, one_of

INVISIBLE = regex.compile(r"\p{Cf}+")
_DASHES = regex.compile(r"[\p{Pd}−]")
_SINGLE_QUOTES = regex.compile(r"[‘’‚‛′`´]")
# Words that no rewrite changes. Most texts consist of them and skip the rewrites.
_REWRITTEN = one_of((*ALL.definite_articles, *(spelling.loose for spelling in ALL.spellings)))
_WORD = rf"(?!{_REWRITTEN}\b)(?:[a-z]+[0-9]*|[0-9]+)"
_INDEFINITE = one_of(ALL.indefinite_articles)
_NORMAL = re.compile(rf"(?!{_INDEFINITE} ){_WORD}(?: {_WORD})*")
_UNITS = one_of(ALL.units)

_TO_SPACE = str.maketrans(dict.fromkeys("*_\"“”„‟«»。;:!?()[]{}'‘’‚‛′`´", " "))
# A substring without which the rewrite does nothing, the pattern, its replacement; applied in this order.
_REWRITES = tuple(
    (needle, re.compile(pattern), replacement)
    for needle, pattern, replacement in (
        (",", r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (".", r"(?<![\w.])\.(?=\d)", "0."),
        (",", r",(?!\d)", " "),
        (".", r"\.(?!\d)", " "),
        ("-", r"-(?=[^\W\d_])|(?<!\S)-(?=\s)", " "),
        ("  ", r" +", " "),
        *((spelling.needle, spelling.pattern, spelling.replacement) for spelling in ALL.spellings),
        ("", rf"(?<=\d)(?={_UNITS}\b)", " "),
        *((article, rf" ?\b{article}\b ?", " ") for article in ALL.definite_articles),
        ("", r"^[ .-]+|(?<![ .-])[ .-]+$", ""),
        (" ", rf"^(?:{_INDEFINITE} )+(?=.)", ""),
    )
)

_SHORT_CHARACTERS = 200  # gold answers and options recur in the complete run; completions only while they are scored
_MAX_WRAPPER_DEPTH = 3
_WRAPPER = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_TOKEN = regex.compile(r"\p{Han}|[^\s\p{Han}]+")


def strip_markup(text: str) -> str:
    r"""Remove LaTeX wrappers such as `\text{}`, dollar signs, Markdown emphasis and invisible characters."""
    if not text.isascii():
        text = _SINGLE_QUOTES.sub("'", _DASHES.sub("-", unicodedata.normalize("NFKC", INVISIBLE.sub("", text))))
    for _ in range(_MAX_WRAPPER_DEPTH if "\\" in text else 0):
        text = _WRAPPER.sub(r"\1", text)
    if "*" in text or "`" in text or "$" in text:
        text = text.replace("*", "").replace("`", "").replace("$", "")
    return text.strip()


def normalize(text: str) -> str:
    """The normal form in which texts are compared.

    It unifies case, punctuation, hyphens, `x-ray`, `5mm`, thousands commas and articles. It keeps everything that
    carries meaning: negations, the content of brackets, word endings, and `none`, which is not `0`. Applying it twice
    changes nothing.
    """
    return _normalize_short(text) if len(text) <= _SHORT_CHARACTERS else _normalize_long(text)


def _rewrite_until_stable(text: str) -> str:
    while (rewritten := _rewrite(text)) != text:
        text = rewritten
    return text


_normalize_short = lru_cache(maxsize=65536)(_rewrite_until_stable)
_normalize_long = lru_cache(maxsize=64)(_rewrite_until_stable)


def _rewrite(text: str) -> str:
    if text.isascii():
        text = text.lower()
        if _NORMAL.fullmatch(text):
            return text
    else:
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", INVISIBLE.sub("", text)).casefold())
        text = _DASHES.sub("-", text)
    text = " ".join(text.translate(_TO_SPACE).split())
    for needle, pattern, replacement in _REWRITES:
        if needle in text:
            text = pattern.sub(replacement, text)
    return text


def tokens(normal: str) -> list[str]:
    """The words of a normalized text. Each Chinese character is one token."""
    return normal.split() if normal.isascii() else _TOKEN.findall(normal)


def token_f1(prediction: str, gold: str) -> float:
    """Token-F1 of two answer texts, in [0, 1]. A token counts at most as often as it occurs in the other text.

    Sources: F1 of answer tokens, Rajpurkar et al. 2016 (SQuAD); clipping, Papineni et al. 2002.
    """
    predicted, expected = _token_counts(normalize(prediction)), _token_counts(normalize(gold))
    if predicted.keys().isdisjoint(expected):
        return 0.0
    return 2 * (predicted & expected).total() / (predicted.total() + expected.total())


@lru_cache(maxsize=1024)
def _token_counts(normal: str) -> Counter[str]:
    return Counter(tokens(normal))
