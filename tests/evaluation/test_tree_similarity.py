"""Tree-edit similarity of JSON answers."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.answer.fields import Document, parse
from lowmed.evaluation.tree_similarity import tree_similarity


def parsed(value: object) -> Document:
    document, problem = parse(json.dumps(value))
    assert document is not None, problem
    return document


def similarity(gold: object, predicted: object) -> float | None:
    return tree_similarity(parsed(gold), parsed(predicted))


GOLD = {"side": "left", "size": 3, "items": [{"test": "WBC"}, {"test": "RBC"}]}  # 11 nodes below the root


@pytest.mark.parametrize(
    ("predicted", "distance"),
    [
        (GOLD, 0),
        ({"items": GOLD["items"], "Size": 3.0, "side": "Left."}, 0),
        (GOLD | {"side": "right"}, 1),
        (GOLD | {"size": "3"}, 1),
        (GOLD | {"side": ["left"]}, 1),
        ({"side": "left", "items": GOLD["items"], "width": 3}, 1),
        ({"side": "left", "size": 3}, 7),
        (GOLD | {"items": [{"test": "WBC"}]}, 3),
        (GOLD | {"items": [{"test": "RBC"}, {"test": "WBC"}]}, 2),
        (GOLD | {"extra": 1}, 2),
        (GOLD | {"extra": None, "more": [], "n": "n/a"}, 0),
        ({"side": "left", "size": 3, "items": {"test": "WBC"}}, 7),
        ([GOLD], 11),
        ({}, 11),
        ([], 11),
        ("left", 11),
    ],
)
def test_the_similarity_counts_edits_against_the_nodes_of_the_gold_answer(predicted: object, distance: int) -> None:
    assert similarity(GOLD, predicted) == pytest.approx(1 - distance / 11)


def test_an_answer_without_json_has_no_similarity() -> None:
    assert tree_similarity(parsed(GOLD), None) == 0.0


def test_texts_in_a_list_have_no_order() -> None:
    assert similarity(["mass", "scar"], ["scar", "mass"]) == 1.0
    assert similarity([1, 2], [2, 1]) == 0.0


def test_an_empty_gold_answer_and_a_single_value_are_equal_or_not() -> None:
    assert [similarity({"a": None}, value) for value in ({}, {"a": ""}, {"a": 1})] == [1.0, 1.0, 0.0]
    assert [similarity(3, value) for value in (3.0, 4, "3")] == [1.0, 0.0, 0.0]


def test_more_than_twice_the_nodes_are_not_similar() -> None:
    padded = {f"key {number}": number for number in range(200_000)}
    assert similarity({"side": "left", "size": 3}, {"side": "left", "size": 3} | padded) == 0.0


def test_two_long_documents_have_no_similarity_unless_they_are_equal() -> None:
    gold, other = ([f"value {number + shift}" for number in range(5000)] for shift in (0, 1))
    assert similarity(gold, other) is None
    assert similarity(gold, list(gold)) == 1.0


def test_a_report_of_the_usual_length_is_compared() -> None:
    rows = [{f"column {column}": row * column for column in range(9)} for row in range(20)]
    wrong = [*rows[:19], {**rows[19], "column 3": "other"}]
    assert similarity({"rows": rows}, {"rows": wrong}) == pytest.approx(1 - 1 / (1 + 20 * 19))


leaf = st.integers(0, 1) | st.sampled_from(["left", "right"])
document = st.recursive(
    leaf, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("bc"), inner), max_leaves=6
)


def nodes(value: object) -> list[object]:
    """A tree as nested [label, children] lists, written apart from the code under test."""
    if isinstance(value, dict):
        return ["object", [nodes_of_field(key, value[key]) for key in sorted(value)]]
    if isinstance(value, list):
        texts = [item for item in value if isinstance(item, str)]
        records = [item for item in value if isinstance(item, dict)]
        placed = [item for item in value if not isinstance(item, str | dict)]
        return ["list", [nodes(item) for item in (*sorted(texts), *placed, *records)]]
    return [f"{type(value).__name__} {value}", []]


def nodes_of_field(key: str, value: object) -> list[object]:
    if isinstance(value, dict | list):
        label, children = nodes(value)
        return [f"{key} {label}", children]
    return [key, [nodes(value)]]


def slow_distance(one: list[object], other: list[object]) -> int:
    """Selkow's distance by trying every order-preserving choice of kept children."""
    first, second = one[1], other[1]
    assert isinstance(first, list)
    assert isinstance(second, list)
    best = sum(map(size, first)) + sum(map(size, second))
    for kept in range(1, min(len(first), len(second)) + 1):
        for left in itertools.combinations(range(len(first)), kept):
            for right in itertools.combinations(range(len(second)), kept):
                cost = sum(slow_distance(first[a], second[b]) for a, b in zip(left, right, strict=True))
                cost += sum(size(child) for at, child in enumerate(first) if at not in left)
                cost += sum(size(child) for at, child in enumerate(second) if at not in right)
                best = min(best, cost)
    return int(one[0] != other[0]) + best


def size(tree: list[object]) -> int:
    children = tree[1]
    assert isinstance(children, list)
    return 1 + sum(map(size, children))


def filled(value: object) -> object:
    """The value without empty objects and lists."""
    if isinstance(value, dict):
        return {key: inner for key in value if (inner := filled(value[key])) not in ({}, [])}
    return [inner for item in value if (inner := filled(item)) not in ({}, [])] if isinstance(value, list) else value


@given(document, document)
def test_the_distance_is_that_of_an_exhaustive_search(gold: object, predicted: object) -> None:
    gold, predicted = filled(gold), filled(predicted)
    one, other = nodes(gold), nodes(predicted)
    if [] in (gold, predicted) or size(one) == 1:
        return  # an empty list has no type here: it is an answer without fields
    expected = max(0.0, 1 - slow_distance(one, other) / (size(one) - 1))
    assert similarity(gold, predicted) == pytest.approx(expected)
