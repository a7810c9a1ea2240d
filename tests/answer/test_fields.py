"""Typed fields of JSON answers: what is a field, which fields two answers share, and at which cost."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.answer.fields import MAX_DEPTH, Document, FieldCounts, count, parse


def parsed(value: object) -> Document:
    document, problem = parse(json.dumps(value))
    assert document is not None, problem
    return document


def shared(gold: object, predicted: object) -> int:
    return count(parsed(gold), parsed(predicted)).shared


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("left", "not JSON"),
        ("", "not JSON"),
        ('{"a": 1', "not JSON"),
        ('{"a": 1} {"a": 1}', "not JSON"),
        ('{"a": 1e99999999999999999999}', "not JSON"),
        ("NaN", "NaN is not JSON"),
        ('{"a": [-Infinity]}', "-Infinity is not JSON"),
        ('{"a": 1, "a": 1}', "the key 'a' occurs twice in one object"),
        ('{"side": 1, "Side.": 2}', "the key 'Side.' occurs twice in one object"),
        ('[{"a": {"b": 1, "B": 2}}]', "the key 'B' occurs twice in one object"),
        ("[" * 50 + "]" * 50, f"nested deeper than {MAX_DEPTH} levels"),
        ("[" * 200_000, f"nested deeper than {MAX_DEPTH} levels"),
        ('{"a":' * 200_000, f"nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_json_without_a_single_meaning_is_refused_with_a_reason(text: str, problem: str) -> None:
    assert parse(text) == (None, problem)


def test_the_deepest_allowed_document_is_read() -> None:
    document, _ = parse("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)
    assert document is not None
    assert document.leaves == 1


@pytest.mark.parametrize("text", ['{"a": 1}', ' \n{"a": 1}\n', '```json\n{"a": 1}\n```', '```\n{"a": 1}```'])
def test_json_is_read_bare_or_in_one_code_fence(text: str) -> None:
    assert parse(text) == parse('{"a":1.0}')


@pytest.mark.parametrize(
    "empty", [None, "", " ", "-", "?", "N/A", "n.a.", "cannot tell", "unknown", [], {}, [[]], [{"b": ""}]]
)
def test_an_empty_value_is_not_a_field(empty: object) -> None:
    assert parsed({"a": empty}).leaves == 0
    assert parsed([empty]).leaves == 0


@pytest.mark.parametrize(
    "filled", [0, False, "none", "no", "0", "Na", "+", "Motion. The lung bases cannot be assessed in this study."]
)
def test_a_value_that_states_something_is_a_field(filled: object) -> None:
    assert parsed({"a": filled}).leaves == 1


@pytest.mark.parametrize(
    ("gold", "predicted", "number"),
    [
        (1, 1.0, 1),
        (1, "1", 0),
        (1, True, 0),
        (0, False, 0),
        ("true", True, 0),
        ("The Left-Lung.", "left lung", 1),
        (["mass", "scar"], ["Scar", "mass"], 2),
        (["mass", "mass"], ["mass"], 1),
        (["mass"], "mass", 0),
        ([45, 120], [120, 45], 0),
        ([45, 120], [45, 120.0], 2),
        ([None, 120], [45, 120], 1),
        ([[1, 2], [3, 4]], [[3, 4], [1, 2]], 0),
        ({"a": {"b": 1}}, {"a/b": 1}, 0),
        ({"a": {"b": 1}}, {"a": {"B": 1}}, 1),
        ({"a": {"b": 1}}, {"b": 1}, 0),
    ],
)
def test_fields_are_shared_by_place_type_and_normal_form(gold: object, predicted: object, number: int) -> None:
    assert shared({"value": gold}, {"value": predicted}) == number


def test_objects_in_a_list_are_paired_so_that_most_fields_agree() -> None:
    gold = [
        {"test": "WBC", "value": 5, "unit": "G/l"},
        {"test": "RBC", "value": 4, "unit": "T/l"},
        {"test": "Hb", "value": 140},
    ]
    assert shared(gold, gold[::-1]) == 8
    assert shared(gold, [{"test": "Hb", "value": 139}, {"test": "RBC", "value": 4, "unit": "T/l"}]) == 4
    assert shared(gold, [{"test": "new"}, *gold]) == 8
    assert shared(gold, [gold[0]] * 5) == 3
    nested: Any = [{"panel": "a", "tests": gold}, {"panel": "b", "tests": gold[:1]}]
    assert shared(nested, nested[::-1]) == 13


def test_precision_recall_and_f1() -> None:
    counts = FieldCounts(shared=2, predicted=3, gold=7)
    assert (counts.precision, counts.recall) == (2 / 3, 2 / 7)
    assert counts.f_measure() == pytest.approx(0.4)
    assert [FieldCounts(0, *sizes).f_measure() for sizes in ((0, 0), (0, 3), (3, 0))] == [1.0, 0.0, 0.0]


leaf = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["left", "right", "n/a"])
document = st.recursive(
    leaf, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("bcd"), inner), max_leaves=12
)


@given(document, document)
def test_shared_fields_are_symmetric_and_at_most_those_of_either(one: object, other: object) -> None:
    counts = count(parsed(one), parsed(other))
    assert 0 <= counts.shared <= min(counts.predicted, counts.gold)
    assert counts.shared == shared(other, one)
    assert shared(one, one) == parsed(one).leaves


def long_list(number: int, shift: int = 0) -> list[dict[str, object]]:
    return [{"test": f"t{row}", "value": row + shift, "unit": "g", "flag": row % 2 == 0} for row in range(number)]


@pytest.mark.parametrize(
    ("gold", "predicted", "number"),
    [
        (long_list(5000), long_list(5000)[::-1], 20_000),
        (long_list(200), long_list(200, 1)[::-1], 600),
        (long_list(3000), long_list(3000, 1), 9000),
        ({"side": "left"}, long_list(20_000), 0),
        (long_list(12), long_list(20_000), 48),
        ({"a": [f"v{row}" for row in range(50_000)]}, {"a": [f"v{row + 1}" for row in range(50_000)]}, 49_999),
        ([[long_list(20)] * 20] * 20, [[long_list(20, 1)] * 20] * 20, 24_000),
    ],
)
def test_long_documents_are_compared_in_bounded_time(gold: object, predicted: object, number: int) -> None:
    assert shared(gold, predicted) == number


def best_by_search(gold: object, predicted: object) -> int:
    """Shared leaves with every pairing of the objects in a list tried; written apart from the code under test."""
    if isinstance(gold, dict) and isinstance(predicted, dict):
        return sum(best_by_search(gold[key], predicted[key]) for key in gold if key in predicted)
    if isinstance(gold, list) and isinstance(predicted, list):
        short, long = sorted((gold, predicted), key=len)
        pairings = itertools.permutations(long, len(short))
        return max(sum(map(best_by_search, short, pairing)) for pairing in pairings)
    return int(type(gold) is type(predicted) and gold == predicted and not isinstance(gold, dict | list))


small = st.integers(0, 1)
items = st.lists(st.dictionaries(st.sampled_from("bcd"), small, min_size=1), max_size=4)
nested = st.lists(st.dictionaries(st.sampled_from("bc"), small | items, min_size=1), max_size=3)


@given(items | nested, items | nested)
def test_the_pairing_of_objects_is_the_best_one(gold: list[object], predicted: list[object]) -> None:
    assert shared(gold, predicted) == best_by_search(gold, predicted)


@given(nested, nested, st.integers(0, 9))
def test_a_wrong_field_more_never_pays_and_a_right_one_never_costs(
    gold: list[Any], predicted: list[Any], at: int
) -> None:
    def paid(answer: list[Any]) -> float:
        return count(parsed({"list": gold, "more": 1}), parsed({"list": answer})).f_measure()

    before = paid(predicted)
    assert paid([*predicted, {"invented": at}]) <= before
    assert count(parsed({"list": gold, "more": 1}), parsed({"list": predicted, "more": 1})).f_measure() >= before
