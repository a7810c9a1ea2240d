"""Reads the number to which an answer commits itself, and compares it with the gold answer."""

import re
from decimal import Decimal

from lowmed.answer.negation import is_noncommittal
from lowmed.answer.normalize import normalize
from lowmed.answer.quantity import (
    NUMBER,
    SIZES,
    UNIT,
    Quantity,
    dates_in,
    decimal,
    parse_date,
    parse_quantity,
    parse_sequence,
    prepare,
    quantities_in,
    unit_name,
)

_ROUNDING = Decimal("1e-6")
_NONE = re.compile(
    r"no (?:\w+ )?\w+(?: (?:is|are|was|were|can be|could be))?"
    r"(?: (?:seen|visible|identified|present|detected|found|noted))?[. ]*$"
)
_DENIED = re.compile(rf"(?:,\s*)?\bnot\s+{NUMBER}(?:\s?{UNIT})?(?:,?\s*but\b)?")
_CUE = re.compile(r"\b(?:final|corrected|result|answer|total|therefore|thus|hence)\b")
_FRACTION = re.compile(r"(?<![\d./])(\d+)\s?/\s?(\d+)(?![\d/]|\.\d)")
_RANGE_BEFORE = re.compile(
    r"(?:\bbetween|\b(?:less|more|greater|fewer|higher|lower) than|\bat (?:least|most)|\bover|\bunder|\bup to|\babove"
    r"|\bbelow|[<>≤≥])\s?$"
)
_RANGE_AFTER = re.compile(rf"\s?(?:{UNIT})?\s?(?:[–-]|\bto\b|\bor\b|\band\b(?=[^.]*\bbetween\b))\s?\d")
_EQUALS = re.compile(r"[=≈≅~→]|\bequals\b|\bapproximately\b(?=[^=]*$)")
_STATED = re.compile(
    rf"(?:\b(?:is|are|was|were|measures|equals|estimated at|total(?:s| of)?|score of|result of|there (?:is|are))\b"
    rf"|[:=≈])"
    rf"[^\d.;,]{{0,25}}?(?={NUMBER})"
)
_ALTERNATIVE = re.compile(rf"\s*(?:{UNIT}\s*)?,?\s*\bor\b")
_EXPLANATION = re.compile(r":|\bbecause\b|\bsince\b|\bwhich\b|\bas\b")
_BRACKETS = re.compile(r"[(\[][^()\[\]]*[)\]]")
# "'14 weeks', '4 days'" and "14 weeks 4 days" are written as "14 weeks, 4 days".
_QUOTES = re.compile(r"(?<![^\W_])['\"’‘](?=\d)|(?<=[\w%])['\"’‘](?!\w)")
_MIXED_UNITS = re.compile(r"(\d\s?(?:years?|months?|weeks?|wks?))\s(?=\d+\s?(?:months?|weeks?|days?)\b)")
_STATEMENT_END = re.compile(r"(?<=[^\d]\.)\s|(?<=\d)\.\s|[;\n]|(?<=[!?])\s")


def read_number(text: str, gold: str, unit: str = "") -> tuple[str | None, str]:
    """Read the number, date or sequence to which an answer text commits itself; None and the problem if there is none.

    A result after "=" or "is" outranks the numbers of its computation; a range names no number. The gold answer
    decides only what is read: a date, a sequence of that length, a fraction or its numerator.

    Args:
        text: the answer text.
        gold: a gold answer.
        unit: the unit of the gold answer, if it is not part of it.
    """
    if parse_date(gold):
        return _read_date(text)
    prepared = prepare(text)
    expected = parse_sequence(gold)
    if expected:
        return _read_sequence(prepared, len(expected))
    if (complete := parse_quantity(text)) is not None:
        return str(complete), ""
    if normalize(text) in ("none", "zero") or _NONE.match(prepared.lstrip()):
        return ("0", "") if not is_noncommittal(normalize(text)) else (None, "noncommittal")
    if is_noncommittal(normalize(text)):
        return None, "noncommittal"
    gold_quantity = parse_quantity(gold)
    if fraction := _FRACTION.fullmatch(prepared.strip(" .")):
        numerator, denominator = Decimal(fraction[1]), Decimal(fraction[2])
        is_whole = gold_quantity is not None and gold_quantity.value == gold_quantity.value.to_integral_value()
        return str(Quantity(numerator if is_whole or not denominator else numerator / denominator)), ""
    result = _committed(prepared, unit_name(unit) or (gold_quantity.unit if gold_quantity else ""))
    return (str(result), "") if isinstance(result, Quantity) else (None, result)


def _read_date(text: str) -> tuple[str | None, str]:
    prepared = prepare(text)
    tail = (
        prepared[[match.end() for match in _EQUALS.finditer(prepared)][-1] :] if _EQUALS.search(prepared) else prepared
    )
    for part in (prepared, tail):
        dates = set(dates_in(part))
        if len(dates) == 1:
            year, month, day = dates.pop()
            return f"{year:04}-{month:02}-{day:02}", ""
    return None, "ambiguous" if dates else "no_candidate"


def _read_sequence(prepared: str, length: int) -> tuple[str | None, str]:
    prepared = _MIXED_UNITS.sub(r"\1, ", _QUOTES.sub("", prepared))
    number = rf"{NUMBER}(?:\s?{UNIT})?"
    runs = re.findall(rf"(?<![\w.])({number}(?:(?:\s*(?:x|by|/|,|;|and)\s*){number})+)", prepared)
    sequences = {parse_sequence(run) for run in runs}
    matching = {sequence for sequence in sequences if len(sequence) == length}
    if len(matching) == 1:
        return ", ".join(map(str, matching.pop())), ""
    single = parse_sequence(prepared) or tuple(filter(None, (parse_quantity(prepared),)))
    if single or (len(sequences) == 1 and any(sequences)):
        return ", ".join(map(str, single or sequences.pop())), ""
    return None, "ambiguous" if matching else "no_candidate"


def _committed(prepared: str, unit: str) -> Quantity | str:
    """The one quantity that a text commits to, or the problem."""
    lines = [line for line in prepared.splitlines() if re.search(r"\d", line)]
    for line in (*lines[-1:], prepared):
        outside = _BRACKETS.sub(" ", line)
        results = [match.end() for match in _EQUALS.finditer(outside)]
        if results and (result := next(quantities_in(outside, results[-1]), None)):
            return _single(outside, *result)
    outside = _DENIED.sub(" ", _BRACKETS.sub(" ", prepared))
    statements = _STATEMENT_END.split(outside)
    statements.sort(key=lambda statement: _CUE.search(statement) is None)  # those with a result first
    if len({parse_quantity(statement) for statement in statements} - {None}) > 1:
        return "ambiguous"
    for statement in statements:
        quantities = list(quantities_in(statement))
        if not quantities:
            continue
        values = {quantity for _, quantity in quantities}
        in_unit = {quantity for quantity in values if unit and _dimension(quantity.unit) == _dimension(unit)}
        before_colon = [quantity for at, quantity in quantities if at < statement.find(":")]
        if len(before_colon) == 1:
            return before_colon[0]
        stated = _STATED.search(statement)
        first = quantities[0]
        if _ALTERNATIVE.match(statement, _end(statement, first[0])):
            return "ambiguous"
        if len(values) == 1:
            return _single(statement, *first)
        if not statement[: first[0]].strip(" ~."):
            opening = _EXPLANATION.split(statement, maxsplit=1)[0]
            others = [at for at, _ in quantities[1:] if at < len(opening) and not _RANGE_BEFORE.search(statement[:at])]
            return "ambiguous" if others else _single(statement, *first)
        if _RANGE_BEFORE.search(statement[: first[0]]) or _is_range(statement, first[0]):
            return "range"
        if len(in_unit) == 1:
            return in_unit.pop()
        result = next(quantities_in(statement, stated.end()), None) if stated else None
        return _single(statement, *result) if result else "ambiguous"
    return "no_candidate"


def _end(text: str, start: int) -> int:
    """The index behind the number at `start`."""
    match = re.compile(NUMBER).match(text, start)
    return match.end() if match else start


def _single(text: str, start: int, quantity: Quantity) -> Quantity | str:
    """The quantity at `start`, unless it is one end of a range."""
    is_range = _RANGE_BEFORE.search(text[:start][-24:]) or _is_range(text, start)
    return "range" if is_range else quantity


def _is_range(text: str, start: int) -> bool:
    number = re.compile(NUMBER).match(text, start)
    return number is not None and _RANGE_AFTER.match(text, number.end()) is not None


def another_number(gold: str) -> str:
    """A number of the same form as a gold answer, which is wrong by far more than rounding."""
    if date := parse_date(gold):
        year, month, day = date
        return f"{year + 1:04}-{month:02}-{day:02}"
    if quantity := parse_quantity(gold):
        return str(Quantity(2 * quantity.value + 1 if quantity.value >= 0 else 1 - quantity.value, quantity.unit))
    return ", ".join(str(Quantity(2 * part.value + 1, part.unit)) for part in parse_sequence(gold)) or "no number"


def _dimension(unit: str) -> str:
    return SIZES[unit][0] if unit in SIZES else unit


def same_number(value: str, gold: str, unit: str = "", limits: tuple[str, str] = ("", "")) -> bool:
    """Whether a number that was read is right: equal to the gold answer, or within the limits.

    Units of one dimension are converted. A unit that is missing on one side counts as that of the other side; a number
    without unit may also be a share, so that "75%" equals 0.75.

    Args:
        value: the value that was read.
        gold: a gold answer.
        unit: the unit of the gold answer, if it is not part of it.
        limits: the smallest and the largest right number, as texts; empty for equality. They do not apply to dates.
    """
    if (date := parse_date(gold)) is not None:
        return parse_date(value) == date
    if expected := parse_sequence(gold):
        return _same_sequence(parse_sequence(value), expected)
    answer, target = parse_quantity(value), parse_quantity(gold)
    if answer is None or target is None:
        return normalize(value) == normalize(gold)
    target = Quantity(target.value, target.unit or unit_name(unit))
    low, high = (decimal(limit) if limit else None for limit in limits)
    low = target.value if low is None else low
    high = target.value if high is None else high
    return any(
        min(low, high) - _ROUNDING <= number <= max(low, high) + _ROUNDING for number in in_unit(answer, target.unit)
    )


def in_unit(answer: Quantity, unit: str) -> tuple[Decimal, ...]:
    """The number of an answer in the unit of the gold answer: two readings of a share, none in another dimension."""
    if answer.unit == unit:
        return (answer.value,)
    if "%" in (answer.unit, unit) and "" in (answer.unit, unit):
        size = SIZES["%"][1]
        return answer.value, answer.value * size if answer.unit else answer.value / size
    if not answer.unit or not unit:
        return (answer.value,)
    if unit in SIZES and answer.unit in SIZES and _dimension(unit) == _dimension(answer.unit):
        return (answer.value * SIZES[answer.unit][1] / SIZES[unit][1],)
    return ()


def _same_sequence(answer: tuple[Quantity, ...], expected: tuple[Quantity, ...]) -> bool:
    return len(answer) == len(expected) and all(
        any(abs(number - other.value) <= _ROUNDING for number in in_unit(one, other.unit))
        for one, other in zip(answer, expected, strict=True)
    )
