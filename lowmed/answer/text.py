"""Answer texts made comparable: one normal form, its tokens, and the overlap of two texts."""

import unicodedata
from collections import Counter
from decimal import Decimal
from functools import lru_cache

import regex

INVISIBLE = regex.compile(r"\p{Cf}+")
_DASHES = regex.compile(r"[\p{Pd}−]")
_SINGLE_QUOTES = regex.compile(r"[‘’‚‛′`´]")
_SIMPLE = regex.compile(r"[a-z]+(?: [a-z]+)*")

_REWRITES: tuple[tuple[regex.Pattern[str], str], ...] = tuple(
    (regex.compile(pattern), replacement)
    for pattern, replacement in (
        (r'[*_"“”„‟«»。]', " "),
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (r"(?<![\w.])\.(?=\d)", "0."),
        (r"[;:!?()\[\]{}']|[,.](?!\d)", " "),
        (r"-(?=\p{L})|(?<!\S)-(?=\s)", " "),
        (r"\bx[ -]?ray(s?)\b", r"xray\1"),
        (r"(?<=\d)(?=(?:mm|cm|ml|kg|mg|hu)\b)", " "),
        (r"\bthe\b", " "),
        (r"\s+", " "),
        (r"^[\s.-]+|[\s.-]+$", ""),
        (r"^(?:an? )+(?=.)", ""),
    )
)

_WRAPPER = regex.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_TOKEN = regex.compile(r"[\p{Han}]|[^\s\p{Han}]+")
_ITEM_END = regex.compile(r",(?!\d{3}(?!\d))|[;、&，]|\band\b")
_UNITS = {"": "", "mm": "mm", "cm": "cm", "ml": "ml", "kg": "kg", "mg": "mg", "hu": "hu", "%": "%"}
_QUANTITY = regex.compile(r"(-?\d+(?:\.\d+)?) ?([a-z%]*)")
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()


def plain(text: str) -> str:
    r"""The text without wrappers: `\text{}` and its like, dollar signs, markdown marks, invisible characters."""
    if not text.isascii():
        text = _SINGLE_QUOTES.sub("'", _DASHES.sub("-", unicodedata.normalize("NFKC", INVISIBLE.sub("", text))))
    while "\\" in text and (inner := _WRAPPER.sub(r"\1", text)) != text:
        text = inner
    if "*" in text or "`" in text or "$" in text:
        text = text.replace("*", "").replace("`", "").replace("$", "")
    return text.strip()


def _rewritten(text: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", INVISIBLE.sub("", text)).casefold())
    text = _SINGLE_QUOTES.sub("'", _DASHES.sub("-", text))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=65536)
def normalize(text: str) -> str:
    """The normal form in which texts are compared.

    Spelling is unified (case, punctuation, hyphens, `x-ray`, `5mm`, thousands commas, articles) and nothing that
    carries meaning goes: no negation, no bracket's content, no `none` to `0`, no stem. Applying it twice changes nothing.
    """
    if text.isascii() and _SIMPLE.fullmatch(lower := text.lower()) and " " not in lower and lower != "the":
        return lower
    while (rewritten := _rewritten(text)) != text:
        text = rewritten
    return text


def tokens(text: str) -> list[str]:
    """The words of a normalised text; a Chinese character is a word of its own."""
    return text.split() if text.isascii() else _TOKEN.findall(text)


def token_f1(prediction: str, gold: str) -> float:
    """Token-F1 of two answer texts, in [0, 1]; a token counts at most as often as the other text has it.

    Source of the clipping: Papineni et al. 2002; of F1 on answer tokens: Rajpurkar et al. 2016 (SQuAD).
    """
    predicted, expected = tokens(normalize(prediction)), tokens(normalize(gold))
    shared = (Counter(predicted) & Counter(expected)).total()
    return 2 * shared / (len(predicted) + len(expected)) if shared else 0.0


@lru_cache(maxsize=65536)
def items(text: str) -> frozenset[str]:
    """The normalised members of a list written with commas, semicolons or "and"."""
    return frozenset(filter(None, map(normalize, _ITEM_END.split(text))))


def quantity(normalised: str) -> tuple[Decimal, str] | None:
    """Number and unit, where the whole normalised text is one; a number word counts as its number."""
    if normalised in _NUMBER_WORDS:
        return Decimal(_NUMBER_WORDS.index(normalised)), ""
    found = _QUANTITY.fullmatch(normalised) if normalised[:1] in "-0123456789" else None
    if not found or found[2] not in _UNITS:
        return None
    return Decimal(found[1]), found[2]


def same(text: str, gold: str) -> bool:
    """Whether two answer texts say the same: equal in normal form, as sets of items, or as quantities.

    No substring, synonym or nearness earns credit. Units are compared, not converted.
    """
    left, right = normalize(text), normalize(gold)
    if left == right:
        return bool(left) or text.strip().casefold() == gold.strip().casefold()
    if (number := quantity(right)) is not None:
        return quantity(left) == number
    listed = items(gold)
    return len(listed) > 1 and items(text) == listed
