"""Tree-edit similarity of two JSON answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowmed.answer.fields import Document, Items, Leaf, Node, Record

MAX_NODE_PAIRS = 500_000  # nodes x nodes up to which a distance is computed; about a second


@dataclass(frozen=True, slots=True)
class _Tree:
    """A node with its children, the number of nodes, and a number that equal trees of one comparison share."""

    label: object
    children: "tuple[_Tree, ...]"
    size: int
    number: int


def tree_similarity(gold: Document, predicted: Document | None) -> float | None:
    """max(0, 1 - d(predicted, gold) / d(empty, gold)); None above `MAX_NODE_PAIRS` node pairs.

    The formula is the accuracy by tree edit distance of Kim et al. 2022 (Donut, arXiv:2111.15664). d is the top-down
    tree edit distance of Selkow 1977: inserting or deleting a subtree costs its nodes, renaming a node costs 1. The
    distance of Zhang and Shasha 1989 is at most as large, because it may also delete a node and keep its children.

    The tree has a node for each key, each value and each object in a list. Keys and the texts of a list are sorted,
    because they have no order. Objects in a list keep theirs. Empty fields are left out.
    """
    if predicted is None:
        return 0.0
    numbers: dict[tuple[object, ...], int] = {}
    one, other = (_Builder(numbers).root(document) for document in (predicted, gold))
    if one.number == other.number:
        return 1.0
    most = other.size - 1  # an empty answer has the root alone
    if abs(one.size - other.size) >= most:  # the distance is at least the difference in size
        return 0.0
    if one.size * other.size > MAX_NODE_PAIRS:
        return None
    return max(0.0, 1 - _distance(one, other, {}) / most)


@dataclass(frozen=True)
class _Builder:
    """Builds trees and numbers them."""

    numbers: dict[tuple[object, ...], int]

    def root(self, document: Document) -> _Tree:
        """The tree of a document; a root without children if nothing is filled."""
        if document.root is None:
            return self._tree(Record, ())
        return self._value(document.root)

    def _value(self, node: Node) -> _Tree:
        return self._tree(node if isinstance(node, Leaf) else type(node), self._children(node))

    def _children(self, node: Node) -> list[_Tree]:
        if isinstance(node, Record):
            return [self._field(name, node.fields[name]) for name in sorted(node.fields)]
        if isinstance(node, Items):
            texts = [self._tree(Leaf("text", text), ()) for text in sorted(node.texts.elements())]
            return [*texts, *map(self._value, node.placed.values()), *map(self._value, node.records)]
        return []

    def _field(self, name: str, node: Node) -> _Tree:
        """A key with its value below it; an object's keys and a list's items are below the key itself."""
        children = [self._value(node)] if isinstance(node, Leaf) else self._children(node)
        return self._tree(("key", name, None if isinstance(node, Leaf) else type(node)), children)

    def _tree(self, label: object, children: Sequence[_Tree]) -> _Tree:
        key = (label, *(child.number for child in children))
        number = self.numbers.setdefault(key, len(self.numbers))
        return _Tree(label, tuple(children), 1 + sum(child.size for child in children), number)


def _distance(one: _Tree, other: _Tree, known: dict[tuple[int, int], int]) -> int:
    """Selkow's distance of two trees."""
    if one.number == other.number:
        return 0
    pair = (one.number, other.number)
    if pair not in known:
        known[pair] = int(one.label != other.label) + _sequence_distance(one.children, other.children, known)
    return known[pair]


def _sequence_distance(one: Sequence[_Tree], other: Sequence[_Tree], known: dict[tuple[int, int], int]) -> int:
    """The edit distance of two sequences of trees, without their equal beginnings and ends."""
    start = 0
    while start < min(len(one), len(other)) and one[start].number == other[start].number:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end].number == other[-1 - end].number:
        end += 1
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    row = [0]
    for tree in other:
        row.append(row[-1] + tree.size)
    for deleted in one:
        previous, row = row, [row[0] + deleted.size]
        for column, inserted in enumerate(other):
            row.append(
                min(
                    previous[column + 1] + deleted.size,
                    row[column] + inserted.size,
                    previous[column] + _distance(deleted, inserted, known),
                )
            )
    return row[-1]
