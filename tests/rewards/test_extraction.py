"""Field F1 of JSON answers, and what the recipe `vie` pays in total."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed import rewards
from lowmed.recipe.io import load_recipe
from lowmed.rewards.extraction import Extraction
from lowmed.rewards.weighted import total
from lowmed.sample import Sample

GOLD = {
    "name": "Li",
    "items": [{"test": "WBC", "value": 5.2}, {"test": "RBC", "value": 4}],
    "findings": ["mass", "scar"],
}
SAMPLE = Sample("s", "Report it.", json.dumps(GOLD), "json", "g", "t")
TWELVE = {f"field {number}": f"some text about finding {number}" for number in range(12)}
REPORT = Sample("r", "Report it.", json.dumps(TWELVE), "json", "g", "t")
THOUGHT = "I read every line of the report."


def completion(text: str) -> str:
    return f"<think>{THOUGHT}</think><answer>{text}</answer>"


def value(document: object, alpha: float = 0.5) -> float | None:
    return Extraction(alpha)(SAMPLE, completion(json.dumps(document))).value


def vie_pays(text: str, sample: Sample = REPORT) -> float:
    """The sum of the recipe's rewards by the recipe's own weights."""
    built = rewards.build(load_recipe("vie").method.reward_specs)
    return total(built, {reward.name: reward(sample, text) for reward in built})


def test_the_gold_answer_earns_1_in_any_order_and_spelling() -> None:
    assert value(GOLD) == 1.0
    items: Any = GOLD["items"]
    assert value({"findings": ["Scar", "mass"], "items": items[::-1], "Name": "li"}) == 1.0


@pytest.mark.parametrize(("alpha", "expected"), [(0.2, 2 / 6.2), (0.5, 0.4), (0.8, 2 / 3.8)])
def test_alpha_weights_precision_against_recall(alpha: float, expected: float) -> None:
    document = {"name": "Li", "findings": ["mass", "fracture"]}  # 2 of 3 leaves are right, the gold answer has 7
    assert value(document, alpha) == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [-0.1, 0.0, 1.0, 1.1])
def test_a_weight_that_ignores_invented_or_missing_fields_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha is above 0 and below 1"):
        Extraction(alpha)


def test_the_recipe_pays_the_gold_answer_most_and_a_refusal_nothing() -> None:
    eleven = TWELVE | {"field 11": "one word longer than the gold answer is here"}
    pay = {
        "gold": vie_pays(completion(json.dumps(TWELVE))),
        "eleven of twelve, one word longer": vie_pays(completion(json.dumps(eleven))),
        "half": vie_pays(completion(json.dumps(dict(list(TWELVE.items())[:6])))),
        "one certain field": vie_pays(completion(json.dumps({"field 0": TWELVE["field 0"]}))),
        "all wrong": vie_pays(completion(json.dumps(dict.fromkeys(TWELVE, "another value")))),
        "refusal": vie_pays(completion("cannot tell")),
    }
    assert list(pay.values()) == sorted(pay.values(), reverse=True), pay
    assert pay["gold"] == 2.0
    assert pay["eleven of twelve, one word longer"] == pytest.approx(1 + 11 / 12)
    assert pay["one certain field"] == pytest.approx(1 + 2 / 13)
    assert (pay["all wrong"], pay["refusal"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cannot tell",
        "{}",
        "[]",
        "null",
        '"left"',
        "3",
        '{"field 0": ""}',
        '{"field 0": null, "field 1": [], "field 2": {"a": "n/a"}}',
        '{"field 0": "cannot tell", "field 1": "It cannot be determined from the image."}',
        '{"field 0": "some text about finding 0"',
        '{"field 0": NaN}',
        '{"field 0": Infinity}',
        '{"field 0": "some text about finding 0", "Field 0": "some text about finding 0"}',
        "{'field 0': 'some text about finding 0'}",
        f"{json.dumps(TWELVE)} and so on",
        f"{json.dumps(TWELVE)}{json.dumps(TWELVE)}",
        "[" * 100_000,
        '{"a":' * 500 + "1" + "}" * 500,
    ],
)
def test_refusals_and_broken_json_earn_nothing_at_all(text: str) -> None:
    assert vie_pays(completion(text)) == 0.0


@pytest.mark.parametrize(
    "text", ["", "no json", '<answer>{"name": "Li"</answer>', json.dumps(GOLD), "{}", f"<answer>{json.dumps(GOLD)}"]
)
def test_a_completion_without_json_in_a_closed_tag_earns_nothing(text: str) -> None:
    assert Extraction()(SAMPLE, text).value == 0.0


def test_json_in_a_code_fence_is_accepted() -> None:
    assert vie_pays(completion(f"```json\n{json.dumps(TWELVE, indent=1)}\n```")) == 2.0


def padded(gold: dict[str, Any]) -> dict[str, Any]:
    return gold | {f"padding {number}": number for number in range(50)}


def in_every_list(gold: dict[str, Any]) -> dict[str, Any]:
    return gold | {"findings": [*gold["findings"], *(f"finding {number}" for number in range(50))]}


def repeated_items(gold: dict[str, Any]) -> dict[str, Any]:
    return gold | {"items": gold["items"] * 20}


def repeated_texts(gold: dict[str, Any]) -> dict[str, Any]:
    return gold | {"findings": gold["findings"] * 20}


def every_pair_in_a_list(gold: dict[str, Any]) -> dict[str, Any]:
    return gold | {"items": [{"test": test, "value": number} for test in ("WBC", "RBC") for number in range(20)]}


@pytest.mark.parametrize("pad", [padded, in_every_list, repeated_items, repeated_texts, every_pair_in_a_list])
@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
def test_padding_costs_precision(pad: Callable[[dict[str, Any]], dict[str, Any]], alpha: float) -> None:
    paid = value(pad(GOLD), alpha)
    assert paid is not None
    assert paid <= 7 / (7 + alpha * 38)


def test_empty_fields_neither_earn_nor_cost() -> None:
    empty: dict[str, Any] = {
        "age": None,
        "sex": "",
        "history": [],
        "drug": {},
        "dose": "n/a",
        "organ": "not stated",
        "list": [{}, ""],
    }
    assert value(GOLD | empty) == 1.0
    gold = Sample("s", "Report it.", json.dumps(GOLD | empty), "json", "g", "t")
    assert Extraction()(gold, completion(json.dumps(GOLD))).value == 1.0
    assert Extraction()(gold, completion(json.dumps(empty))).value == 0.0


@pytest.mark.parametrize(
    ("predicted", "right"),
    [
        ({"a": 1}, True),
        ({"a": 1.0}, True),
        ({"a": "1"}, False),
        ({"a": True}, False),
        ({"a": [1]}, False),
        ({"a": {"a": 1}}, False),
        ([{"a": 1}], False),
    ],
)
def test_a_value_is_compared_with_its_type_and_place(predicted: object, right: bool) -> None:
    sample = Sample("s", "Report it.", '{"a": 1}', "json", "g", "t")
    assert Extraction()(sample, completion(json.dumps(predicted))).value == float(right)


def test_keys_that_look_like_paths_are_keys() -> None:
    sample = Sample("s", "Report it.", '{"a": {"b": "left"}}', "json", "g", "t")
    assert Extraction()(sample, completion('{"a/b": "left"}')).value == 0.0
    assert Extraction()(sample, completion('{"a/b": "left", "a": {"b": "left"}}')).value == pytest.approx(2 / 3)
    assert Extraction()(sample, completion('{"a[]": "left", "a": ["left"]}')).value == 0.0


def test_a_gold_answer_that_has_no_single_meaning_is_not_scored() -> None:
    sample = Sample("s", "Report it.", '{"a": 1, "A": 2}', "json", "g", "t")
    score = Extraction()(sample, completion('{"a": 1}'))
    assert (score.value, score.why) == (None, "the gold answer cannot be used: the key 'A' occurs twice in one object")


def test_an_empty_gold_answer_is_matched_by_an_empty_answer_alone() -> None:
    sample = Sample("s", "Report it.", '{"a": null}', "json", "g", "t")
    assert [vie_pays(completion(text), sample) for text in ("{}", '{"a": "n/a"}', '{"a": "x"}', "nothing")] == [
        2,
        2,
        1,
        0,
    ]


def test_it_abstains_on_other_questions() -> None:
    assert Extraction()(Sample("o", "Where?", "lung", "open", "g", "t"), "<answer>lung</answer>").value is None


leaf = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=True) | st.text(max_size=3)
document = st.recursive(leaf, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=8)


@given(document, document, st.floats(0.01, 0.99))
def test_any_two_documents_have_a_value_between_0_and_1(gold: object, predicted: object, alpha: float) -> None:
    sample = Sample("s", "Report it.", json.dumps(gold), "json", "g", "t")
    result = Extraction(alpha)(sample, f"<answer>{json.dumps(predicted)}</answer>").value
    assert result is None or 0.0 <= result <= 1.0
