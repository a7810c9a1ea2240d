"""Field-wise precision and recall of JSON answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.rewards.extraction import Extraction
from lowmed.sample import Sample

GOLD = {
    "name": "Li",
    "items": [{"test": "WBC", "value": 5.2}, {"test": "RBC", "value": 4}],
    "findings": ["mass", "scar"],
}
SAMPLE = Sample("s", "Report it.", json.dumps(GOLD), "json", "g", "t")


def value(document: object, alpha: float = 0.5) -> float | None:
    return Extraction(alpha)(SAMPLE, f"<think>I read it.</think><answer>{json.dumps(document)}</answer>").value


def test_the_gold_answer_earns_1_in_any_order_and_spelling() -> None:
    assert value(GOLD) == 1.0
    assert value({"findings": ["Scar", "mass"], "items": GOLD["items"], "Name": "li"}) == 1.0


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 2 / 7), (0.5, (2 / 7 + 2 / 3) / 2), (1.0, 2 / 3)])
def test_alpha_weights_precision_against_recall(alpha: float, expected: float) -> None:
    document = {"name": "Li", "findings": ["mass", "fracture"]}  # 2 of 3 leaves are right, the gold answer has 7
    assert value(document, alpha) == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_flooding_and_empty_documents_earn_nothing(alpha: float) -> None:
    assert value({**GOLD, "findings": ["mass", "scar", *(f"finding {n}" for n in range(50))]}, alpha) == 0.0
    assert value({**GOLD, **{f"field {n}": n for n in range(50)}}, alpha) == 0.0
    assert value({}, alpha) == 0.0
    assert value([], alpha) == 0.0
    assert value("Li", alpha) == 0.0


def test_a_repeated_value_counts_once() -> None:
    assert value({"findings": ["mass"] * 4}, 0.0) == pytest.approx(1 / 7)


@pytest.mark.parametrize("text", ["", "no json", '<answer>{"name": "Li"</answer>', f"{json.dumps(GOLD)}", "{}"])
def test_a_completion_without_json_in_a_tag_earns_nothing(text: str) -> None:
    assert Extraction()(SAMPLE, text).value == 0.0


def test_it_abstains_on_other_questions() -> None:
    assert Extraction()(Sample("o", "Where?", "lung", "open", "g", "t"), "<answer>lung</answer>").value is None


leaf = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
document = st.recursive(leaf, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=8)


@given(document, document, st.floats(0, 1))
def test_any_two_documents_have_a_value_between_0_and_1(gold: object, predicted: object, alpha: float) -> None:
    sample = Sample("s", "Report it.", json.dumps(gold), "json", "g", "t")
    result = Extraction(alpha)(sample, f"<answer>{json.dumps(predicted)}</answer>").value
    assert result is not None
    assert 0.0 <= result <= 1.0
