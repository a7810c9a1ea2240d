"""Compares two short answer texts: normal form, quantities, dates, and lists with or without an order."""

from collections import Counter
from functools import lru_cache

import regex

from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.normalize import normalize
from lowmed.answer.quantity import Quantity, parse_date, parse_quantity, parse_sequence

_ITEM_END = regex.compile(rf",(?!\d{{3}}(?!\d))|[;、&，]|\b{one_of(ALL.and_words)}\b")
_STEP_END = regex.compile(rf",(?!\d{{3}}(?!\d))|[;、，]|\n|->|→|>|\b(?:{one_of(ALL.and_words)}|then)\b")
_ORDER_CUE = regex.compile(one_of(ALL.order_cues), regex.IGNORECASE)


def same_answer(text: str, gold: str, *, ordered: bool = False) -> bool:
    """Whether two answer texts are equal: in normal form, as lists, or as quantities, dates and sequences of numbers.

    Substrings, synonyms and similar texts do not count. Units are compared and not converted; an answer may add a unit
    that the gold answer lacks. Sequences of numbers have an order; other lists have one only if `ordered`.
    """
    normal, normal_gold = normalize(text), normalize(gold)
    if normal == normal_gold and not _signs_differ(text, gold):
        return bool(normal) or text.strip().casefold() == gold.strip().casefold()
    if date := parse_date(gold):
        return parse_date(text) == date
    if quantity := parse_quantity(gold):
        return _same_quantity(parse_quantity(text), quantity)
    if sequence := parse_sequence(gold):
        answer = parse_sequence(text)
        return len(answer) == len(sequence) and all(map(_same_quantity, answer, sequence))
    if ordered:
        return len(_steps(gold)) > 1 and _steps(text) == _steps(gold)
    gold_items = _items(gold)
    return gold_items.total() > 1 and _items(text) == gold_items


def _signs_differ(text: str, gold: str) -> bool:
    """Whether two quantities differ although their normal forms, which drop a leading sign, are equal."""
    answer, quantity = parse_quantity(text), parse_quantity(gold)
    return answer is not None and quantity is not None and answer.value != quantity.value


def has_order(question: str) -> bool:
    """Whether a question asks for an order: "from outside in", "in which sequence"."""
    return _ORDER_CUE.search(question) is not None


def _same_quantity(answer: Quantity | None, gold: Quantity) -> bool:
    return (
        answer is not None
        and answer.value == gold.value
        and answer.unit in (gold.unit, *(() if gold.unit else (answer.unit,)))
    )


@lru_cache(maxsize=8192)
def _items(text: str) -> Counter[str]:
    """The normalized members of a list that is written with commas, semicolons or "and"."""
    return Counter(filter(None, map(normalize, _ITEM_END.split(text))))


@lru_cache(maxsize=8192)
def _steps(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (normalize(_NUMBERING.sub("", part)) for part in _STEP_END.split(text))))


_NUMBERING = regex.compile(r"^\s*(?:\d+|[a-zA-Z])[.)]\s+")
