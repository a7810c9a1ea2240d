"""Reads a JSON answer as typed fields, and counts the fields that two answers share."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, DecimalException
from functools import lru_cache

from lowmed.answer.negation import is_noncommittal
from lowmed.answer.normalize import normalize, tokens

MAX_DEPTH = 32  # levels of objects and lists in one answer
_MAX_PAIRS = 1_000_000  # leaves x leaves of two lists up to which their objects are paired optimally
_MAX_REFUSAL_TOKENS = 7  # a longer text may state that something cannot be assessed, and still be a finding
_FENCE = re.compile(r"```\w*\s*(.*?)\s*```", re.DOTALL)
_PLACEHOLDERS = frozenset(
    (
        *("", "n/a", "n a", "null", "nil", "not applicable", "not available", "not given", "not mentioned"),
        *("not provided", "not reported", "not specified", "not stated", "unspecified"),
    )
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A number, a text in normal form, or a truth value. Leaves of different types are never equal."""

    type: str
    value: str | Decimal | bool

    @property
    def leaves(self) -> int:
        """A leaf counts as one."""
        return 1


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON object with its filled fields by normalized key.

    Attributes:
        fields: the filled fields.
        leaves: filled leaves below it.
        key: equal for equal records.
    """

    fields: "dict[str, Node]"
    leaves: int
    key: tuple[object, ...] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Items:
    """A JSON list.

    Attributes:
        texts: its texts, whose order does not matter.
        placed: its numbers, truth values and lists, by position among them.
        records: its objects, whose order does not matter.
        leaves: filled leaves below it.
        key: equal for equal lists.
    """

    texts: Counter[str]
    placed: "dict[int, Node]"
    records: tuple[Record, ...]
    leaves: int
    key: tuple[object, ...] = field(compare=False)


Node = Leaf | Record | Items


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed JSON answer without its empty leaves.

    An empty leaf is null, a text that states nothing ("", "n/a", "cannot tell"), or an empty object or list.

    Attributes:
        root: the filled part; None if nothing is filled.
        is_container: whether the JSON text is an object or a list.
    """

    root: Node | None
    is_container: bool

    @property
    def leaves(self) -> int:
        """Number of filled leaves."""
        return self.root.leaves if self.root else 0


@dataclass(frozen=True, slots=True)
class FieldCounts:
    """Filled leaves of a predicted and of a gold document, and those that both share."""

    shared: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of predicted leaves that are right."""
        return self.f_measure(1.0)

    @property
    def recall(self) -> float:
        """Share of gold leaves that were predicted."""
        return self.f_measure(0.0)

    def f_measure(self, alpha: float = 0.5) -> float:
        """The weighted harmonic mean of precision and recall; F1 at alpha 0.5, precision at 1, recall at 0.

        1 / (alpha / precision + (1 - alpha) / recall), van Rijsbergen 1979, which equals shared / (alpha x predicted +
        (1 - alpha) x gold). It is 1 if both documents are empty, and 0 if one of them is.
        """
        if not self.predicted or not self.gold:
            return float(self.predicted == self.gold)
        return self.shared / (self.gold + alpha * (self.predicted - self.gold))  # exactly 1 for equal documents


class _InvalidJsonError(ValueError):
    """JSON that Python's parser accepts and that has no single meaning."""


@lru_cache(maxsize=512)  # several rewards and metrics read the same answer
def parse(text: str) -> tuple[Document | None, str]:
    """Parse the text of a JSON answer, bare or in one code fence; None and the reason if that is impossible.

    NaN and infinite numbers are refused, and so is an object in which two keys have the same normal form.
    """
    body = text.strip()
    fenced = _FENCE.fullmatch(body)
    try:
        value = json.loads(
            fenced[1] if fenced else body,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=Decimal,
            parse_int=Decimal,
        )
        return Document(_node(value, 1), isinstance(value, dict | list)), ""
    except _InvalidJsonError as error:
        return None, str(error)
    except RecursionError:
        return None, f"nested deeper than {MAX_DEPTH} levels"
    except (ValueError, DecimalException):
        return None, "not JSON"


def count(gold: Document, predicted: Document) -> FieldCounts:
    """Count the leaves of two documents and those that they share.

    Objects are compared key by key. Texts in a list are compared without their order, and so are objects in a list:
    they are paired so that most leaves agree. Numbers, truth values and lists in a list are compared by position.
    Objects of very long lists (above a million leaf pairs) are paired by position, after equal ones.
    """
    common = _shared(gold.root, predicted.root) if gold.root and predicted.root else 0
    return FieldCounts(common, predicted.leaves, gold.leaves)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, value in pairs:
        normal = normalize(key) or key.strip().casefold()
        if normal in fields:
            raise _InvalidJsonError(f"the key {key[:40]!r} occurs twice in one object")
        fields[normal] = value
    return fields


def _refuse_constant(name: str) -> object:
    raise _InvalidJsonError(f"{name} is not JSON")


def _node(value: object, depth: int) -> Node | None:
    """The filled part of a parsed value; None if it is empty."""
    if isinstance(value, bool):
        return Leaf("bool", value)
    if isinstance(value, Decimal):
        return Leaf("number", value)
    if isinstance(value, str):
        normal = normalize(value)
        return None if _states_nothing(normal) else Leaf("text", normal)
    if isinstance(value, dict | list) and depth > MAX_DEPTH:
        raise _InvalidJsonError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return _record(value, depth)
    return _items(value, depth) if isinstance(value, list) else None


def _states_nothing(normal: str) -> bool:
    return normal in _PLACEHOLDERS or (is_noncommittal(normal) and len(tokens(normal)) <= _MAX_REFUSAL_TOKENS)


def _record(value: dict[str, object], depth: int) -> Record | None:
    nodes = {name: node for name, inner in value.items() if (node := _node(inner, depth + 1))}
    key = tuple((name, _key(nodes[name])) for name in sorted(nodes))
    return Record(nodes, sum(node.leaves for node in nodes.values()), key) if nodes else None


def _items(value: list[object], depth: int) -> Items | None:
    texts: Counter[str] = Counter()
    placed: dict[int, Node] = {}
    records = []
    position = 0
    for inner in value:
        node = _node(inner, depth + 1)
        if isinstance(inner, str | dict):
            if isinstance(node, Leaf):
                texts[str(node.value)] += 1
            elif isinstance(node, Record):
                records.append(node)
            continue
        if node:
            placed[position] = node
        position += 1
    leaves = texts.total() + sum(node.leaves for node in (*placed.values(), *records))
    key = (
        *sorted(texts.items()),
        *((at, _key(node)) for at, node in placed.items()),
        frozenset(Counter(record.key for record in records).items()),
    )
    return Items(texts, placed, tuple(records), leaves, key) if leaves else None


def _key(node: Node) -> object:
    return node if isinstance(node, Leaf) else (type(node).__name__, node.key)


def _shared(gold: Node, predicted: Node) -> int:
    """Leaves that two nodes at the same place share."""
    if isinstance(gold, Record) and isinstance(predicted, Record):
        return sum(
            _shared(inner, predicted.fields[name]) for name, inner in gold.fields.items() if name in predicted.fields
        )
    if isinstance(gold, Items) and isinstance(predicted, Items):
        placed = sum(
            _shared(inner, predicted.placed[at]) for at, inner in gold.placed.items() if at in predicted.placed
        )
        return (gold.texts & predicted.texts).total() + placed + sum(_pair(gold.records, predicted.records))
    return int(gold == predicted)


def _pair(gold: tuple[Record, ...], predicted: tuple[Record, ...]) -> Iterator[int]:
    """Shared leaves of each pair of objects: equal ones first, then the pairs that share most leaves in total."""
    equal = Counter(record.key for record in gold) & Counter(record.key for record in predicted)
    rest_of_gold, rest_of_predicted = _without(gold, equal), _without(predicted, equal)
    yield sum(record.leaves for record in gold) - sum(record.leaves for record in rest_of_gold)
    if not rest_of_gold or not rest_of_predicted:
        return
    pairs = sum(record.leaves for record in rest_of_gold) * sum(record.leaves for record in rest_of_predicted)
    if pairs > _MAX_PAIRS or len(rest_of_gold) == len(rest_of_predicted) == 1:
        yield from map(_shared, rest_of_gold, rest_of_predicted)
        return
    from scipy.optimize import linear_sum_assignment

    shared = [[_shared(one, other) for other in rest_of_predicted] for one in rest_of_gold]
    yield from (shared[row][column] for row, column in zip(*linear_sum_assignment(shared, maximize=True), strict=True))


def _without(records: tuple[Record, ...], equal: Counter[tuple[object, ...]]) -> list[Record]:
    """The records that are left after `equal` many of each key are taken."""
    left = equal.copy()
    rest = []
    for record in records:
        if left[record.key] > 0:
            left[record.key] -= 1
        else:
            rest.append(record)
    return rest
