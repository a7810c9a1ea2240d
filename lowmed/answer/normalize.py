"""Answer texts made comparable: one normal form, its tokens, and the overlap of two texts."""

import re
import unicodedata
from collections import Counter
from decimal import Decimal
from functools import lru_cache

import regex

INVISIBLE = regex.compile(r"\p{Cf}+")
_DASHES = regex.compile(r"[\p{Pd}−]")
_SINGLE_QUOTES = regex.compile(r"[‘’‚‛′`´]")
# Words that no rewrite changes: most texts are made of these, and are done at once.
_WORD = r"(?!the\b|x rays?\b)(?:[a-z]+[0-9]*|[0-9]+)"
_SETTLED = re.compile(rf"(?!an? ){_WORD}(?: {_WORD})*")

_TO_SPACE = str.maketrans(dict.fromkeys("*_\"“”„‟«»。;:!?()[]{}'‘’‚‛′`´", " "))
# What must stand in a text for the rewrite to matter, the rewrite, its replacement; in this order.
_REWRITES = tuple(
    (needle, re.compile(pattern), replacement)
    for needle, pattern, replacement in (
        (",", r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (".", r"(?<![\w.])\.(?=\d)", "0."),
        (",", r",(?!\d)", " "),
        (".", r"\.(?!\d)", " "),
        ("-", r"-(?=[^\W\d_])|(?<!\S)-(?=\s)", " "),
        ("  ", r" +", " "),
        ("ray", r"\bx[ -]?ray(s?)\b", r"xray\1"),
        ("", r"(?<=\d)(?=(?:mm|cm|ml|kg|mg|hu)\b)", " "),
        ("the", r" ?\bthe\b ?", " "),
        ("", r"^[ .-]+|(?<![ .-])[ .-]+$", ""),
        (" ", r"^(?:an? )+(?=.)", ""),
    )
)

_SHORT_CHARACTERS = 200  # golds, options and answers recur for ever; whole completions only while they are scored
_DEEPEST_WRAPPERS = 3
_WRAPPER = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_TOKEN = regex.compile(r"\p{Han}|[^\s\p{Han}]+")
_ITEM_END = re.compile(r",(?!\d{3}(?!\d))|[;、&，]|\band\b")
_QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?) ?(mm|cm|ml|kg|mg|hu|%|)")
_NUMBER_WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12,
    "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20,
}  # fmt: skip


def plain(text: str) -> str:
    r"""The text without wrappers: `\text{}` and its like, dollar signs, markdown marks, invisible characters."""
    if not text.isascii():
        text = _SINGLE_QUOTES.sub("'", _DASHES.sub("-", unicodedata.normalize("NFKC", INVISIBLE.sub("", text))))
    for _ in range(_DEEPEST_WRAPPERS if "\\" in text else 0):
        text = _WRAPPER.sub(r"\1", text)
    if "*" in text or "`" in text or "$" in text:
        text = text.replace("*", "").replace("`", "").replace("$", "")
    return text.strip()


def normalize(text: str) -> str:
    """The normal form in which texts are compared.

    Spelling is unified (case, punctuation, hyphens, `x-ray`, `5mm`, thousands commas, articles) and nothing that
    carries meaning goes: no negation, no bracket's content, no stem, and `none` is not `0`. Applying it twice changes
    nothing.
    """
    return _remembered(text) if len(text) <= _SHORT_CHARACTERS else _remembered_reply(text)


def _settled(text: str) -> str:
    while (rewritten := _rewritten(text)) != text:
        text = rewritten
    return text


_remembered = lru_cache(maxsize=65536)(_settled)
_remembered_reply = lru_cache(maxsize=64)(_settled)


def _rewritten(text: str) -> str:
    if text.isascii():
        text = text.lower()
        if _SETTLED.fullmatch(text):
            return text
    else:
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", INVISIBLE.sub("", text)).casefold())
        text = _DASHES.sub("-", text)
    text = " ".join(text.translate(_TO_SPACE).split())
    for needle, pattern, replacement in _REWRITES:
        if needle in text:
            text = pattern.sub(replacement, text)
    return text


def tokens(text: str) -> list[str]:
    """The words of a normalised text; a Chinese character is a word of its own."""
    return text.split() if text.isascii() else _TOKEN.findall(text)


def token_f1(prediction: str, gold: str) -> float:
    """Token-F1 of two answer texts, in [0, 1]; a token counts at most as often as the other text has it.

    Source of the clipping: Papineni et al. 2002; of F1 on answer tokens: Rajpurkar et al. 2016 (SQuAD).
    """
    predicted, expected = _counted(normalize(prediction)), _counted(normalize(gold))
    if predicted.keys().isdisjoint(expected):
        return 0.0
    return 2 * (predicted & expected).total() / (predicted.total() + expected.total())


@lru_cache(maxsize=1024)
def _counted(normalised: str) -> Counter[str]:
    return Counter(tokens(normalised))


def items(text: str) -> frozenset[str]:
    """The normalised members of a list written with commas, semicolons or "and"."""
    return frozenset(filter(None, map(normalize, _ITEM_END.split(text))))


_items_of_gold = lru_cache(maxsize=8192)(items)


def quantity(normalised: str) -> tuple[Decimal, str] | None:
    """Number and unit, where the whole normalised text is one; a number word counts as its number."""
    if normalised in _NUMBER_WORDS:
        return Decimal(_NUMBER_WORDS[normalised]), ""
    result = _QUANTITY.fullmatch(normalised)
    return (Decimal(result[1]), result[2]) if result else None


def same(text: str, gold: str) -> bool:
    """Whether two answer texts say the same: equal in normal form, as sets of items, or as quantities.

    No substring, synonym or nearness earns credit. Units are compared, not converted.
    """
    left, right = normalize(text), normalize(gold)
    if left == right:
        return bool(left) or text.strip().casefold() == gold.strip().casefold()
    if (number := quantity(right)) is not None:
        return quantity(left) == number
    listed = _items_of_gold(gold)
    return len(listed) > 1 and items(text) == listed
