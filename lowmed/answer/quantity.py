"""Parses texts that are a number with a unit, a date, or a sequence of numbers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from lowmed.answer.lexicon import ALL
from lowmed.answer.normalize import normalize, strip_markup

# Unit: its dimension and its size in the first unit of that dimension.
SIZES: dict[str, tuple[str, Decimal]] = {
    name: (units[0][0], Decimal(size))
    for units in (
        (("mm", "1"), ("cm", "10"), ("m", "1000"), ("um", "0.001")),
        (("mg", "1"), ("g", "1000"), ("kg", "1000000"), ("ug", "0.001")),
        (("ml", "1"), ("l", "1000"), ("dl", "100"), ("mm3", "0.001")),
        (("mm2", "1"), ("cm2", "100"), ("m2", "1000000")),
        (("deg", "1"), ("rad", "57.2957795131")),
        (("day", "1"), ("week", "7")),
        (("month", "1"), ("year", "12")),
        (("minute", "1"), ("hour", "60"), ("second", "0.0166666667")),
        (("", "1"), ("%", "0.01")),
    )
    for name, size in units
}
_ALIASES = {
    alias: unit
    for unit, aliases in {
        "mm": "millimeter millimeters millimetre millimetres",
        "cm": "centimeter centimeters centimetre centimetres cms",
        "m": "meter meters metre metres",
        "um": "µm μm micrometer micrometers micron microns micrometre micrometres",
        "mg": "milligram milligrams",
        "g": "gram grams gm",
        "kg": "kilogram kilograms kgs",
        "ug": "µg μg mcg microgram micrograms",
        "ml": "milliliter milliliters millilitre millilitres cc cm3 ccm",
        "l": "liter liters litre litres",
        "dl": "deciliter deciliters",
        "day": "days",
        "week": "weeks wk wks",
        "month": "months",
        "year": "years yr yrs years-old year-old",
        "minute": "minutes min mins",
        "hour": "hours hr hrs h",
        "second": "seconds sec s",
        "%": "percent per-cent pct",
        "point": "points pts score",
        "deg": "° degree degrees",
        "rad": "radian radians",
        "suv": "suvmax suvmean suvpeak",
        "hu": "hounsfield-units",
        "bpm": "beats/min beats/minute beats-per-minute",
        "mmhg": "",
        "c": "°c celsius",
        "f": "°f fahrenheit",
        "diopter": "diopters dioptres dioptre dpt d",
    }.items()
    for alias in aliases.split()
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?:{'|'.join(_MONTHS)})[a-z]*\.?"
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_ONES = tuple(word for word, number in ALL.number_words.items() if word.isascii() and 0 < number < 10)
_WORDS = {**{word: number for word, number in ALL.number_words.items() if len(word) > 2}, **_TENS}
_NUMBER_WORD = re.compile(
    rf"(?<![\w-])(?:({'|'.join(_TENS)})[ -]({'|'.join(_ONES)})|({'|'.join(map(re.escape, _WORDS))}))(?![\w-])"
)
NUMBER = r"(?:[-+](?=[\d.]))?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:[.,]\d+|(?<=\d))(?:\s?(?:e|x\s?10\^)[-+]?\d+)?"
UNIT = r"(?:[a-zµμ°%][\w°µμ%]*(?:[-/^·*][\w°%^]+)*|%)"
_QUANTITY = re.compile(rf"(?<![\w.,/^-])(?<!\d[-–])({NUMBER})(?:\s?-?({UNIT}))?")
_REFERENCE_BEFORE = re.compile(r"\b(?:slices?|images?|figures?|fig\.?|series|pages?|frames?|slides?|panels?)\s?$")
_NUMERIC_DATE = re.compile(r"(?<!\d)(\d{1,4})[/.-](\d{1,2})[/.-](\d{1,4})(?!\d)")
_WRITTEN_DATE = re.compile(
    rf"\b(?:(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH}),? (\d{{4}})"
    rf"|({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}}))"
)
_TEMPERATURE = re.compile(r"\b(?:degrees?|deg\.?|°) ?(c|f)(?:elsius|ahrenheit)?\b")
_JOINED = re.compile(r"\s*(?:x|×|by|/|,|;|and|\*)\s*")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit in canonical spelling; the unit is empty if there is none."""

    value: Decimal
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.value.normalize():f} {self.unit}".strip()


def prepare(text: str) -> str:
    """A text in lower case, with number words as digits and one spelling of signs."""
    text = (
        strip_markup(text).lower().replace("×", "x").replace("²", "2").replace("³", "3").replace("per cent", "percent")
    )
    text = (
        text.replace("−", "-").replace("\\times", "x").replace("years old", "years").replace("beats per minute", "bpm")
    )
    text = _TEMPERATURE.sub(r"°\1", text)

    def number(match: re.Match[str]) -> str:
        if match[1]:
            return str(_TENS[match[1]] + ALL.number_words[match[2]])
        return str(_WORDS[match[3]])

    return _NUMBER_WORD.sub(number, text)


def unit_name(text: str | None) -> str:
    """The canonical spelling of a unit; an unknown one stays as it is."""
    plain = (text or "").strip().rstrip(".").replace("^", "").replace("·", "/").lower()
    return _ALIASES.get(plain, plain)


def decimal(text: str) -> Decimal | None:
    """The value of a number as it is written; None if it is not one."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text.replace(" ", "")).replace(",", ".")
    try:
        return Decimal(re.sub(r"x10\^", "e", text))
    except InvalidOperation:
        return None


def quantities_in(text: str, start: int = 0) -> Iterator[tuple[int, Quantity]]:
    """The quantities in a prepared text with their positions. An unknown word after a number is not its unit."""
    for match in _QUANTITY.finditer(text, start):
        value = decimal(match[1])
        if value is not None and not _REFERENCE_BEFORE.search(text[: match.start()][-12:]):
            unit = unit_name(match[2])
            yield match.start(), Quantity(value, unit if _is_unit(unit) else "")


def _is_unit(unit: str) -> bool:
    return unit in SIZES or unit in _ALIASES.values() or "/" in unit or unit in ALL.units


@lru_cache(maxsize=8192)
def parse_quantity(text: str) -> Quantity | None:
    """The quantity of a text that consists of one number, as a digit or a word, and its unit; else None."""
    prepared = prepare(text).lstrip(" :(").rstrip(" .:)")
    match = re.fullmatch(rf"({NUMBER})(?:\s?-?({UNIT})(?: [a-z]+)?)?", prepared)
    value = decimal(match[1]) if match and match[1] else None
    if match is None or value is None:
        return None
    unit = unit_name(match[2])
    return Quantity(value, unit) if not unit or _is_unit(unit) else None


@lru_cache(maxsize=8192)
def parse_sequence(text: str) -> tuple[Quantity, ...]:
    """The quantities of a text such as "2.5 x 3.1 cm", "120/80" or "[10, 20, 30, 40]"; empty if it holds anything else.

    A unit that stands once, at the end, is that of all numbers.
    """
    prepared = prepare(text).lstrip(" :([{").rstrip(" .:)]}")
    parts = [part for part in _JOINED.split(prepared) if part]
    parsed = [parse_quantity(part) for part in parts]
    if len(parts) < 2 or not all(parsed):
        return ()
    quantities = [quantity for quantity in parsed if quantity]
    units = {quantity.unit for quantity in quantities[:-1]}
    if units == {""} and quantities[-1].unit:
        return tuple(Quantity(quantity.value, quantities[-1].unit) for quantity in quantities)
    return tuple(quantities)


def is_number(text: str) -> bool:
    """Whether a text is one number with or without a unit, a date, or a sequence of numbers."""
    return bool(parse_quantity(text) or parse_date(text) or parse_sequence(text))


@lru_cache(maxsize=8192)
def parse_date(text: str) -> tuple[int, int, int] | None:
    """Year, month and day of a text that is one date; else None. "8/12/2023" is read in the order of the numbers."""
    dates = list(dates_in(prepare(text)))
    return dates[0] if len(dates) == 1 and len(normalize(text)) <= len("september 30th 2023 ") else None


def dates_in(text: str) -> Iterator[tuple[int, int, int]]:
    """The dates in a prepared text. Numbers alone are month, day, year, unless the first exceeds 12."""
    for match in _NUMERIC_DATE.finditer(text):
        first, second, third = map(int, match.groups())
        if len(match[1]) == 4:
            yield first, second, third
        elif first > 12:
            yield third, second, first
        else:
            yield third, first, second
    for match in _WRITTEN_DATE.finditer(text):
        day, month, year = (match[1], match[2], match[3]) if match[1] else (match[5], match[4], match[6])
        yield int(year), _MONTHS.index(month[:3]) + 1, int(day)
