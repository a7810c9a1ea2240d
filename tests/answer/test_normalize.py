"""The normal form and the overlap of answer texts."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lowmed.answer import normalize, token_f1
from lowmed.answer.equality import same_answer


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Left Lung.", "left lung"),
        ("T1-weighted", "t1 weighted"),
        ("X-rays", "xrays"),
        ("chest x ray", "chest xray"),
        ("−5 HU", "5 hu"),
        ("between 3-5 cm", "between 3-5 cm"),
        (".5cm", "0.5 cm"),
        ("1.5mm", "1.5 mm"),
        ("12,345", "12345"),
        ("A", "a"),
        ("vitamin A", "vitamin a"),
        ("type A aortic dissection", "type a aortic dissection"),
        ("hepatitis A", "hepatitis a"),
        ("none", "none"),
        ("1,000 x-ray", "1000 xray"),
        ("An effusion", "effusion"),
        ("ＣＴ", "ct"),
        ("“both”", "both"),
        ("no pneumothorax", "no pneumothorax"),
        ("mass (left)", "mass left"),
        ("MRI - T2 weighted", "mri t2 weighted"),
        ("是的。", "是的"),
    ],
)
def test_texts_are_normalized(text: str, normal: str) -> None:
    assert normalize(text) == normal


@given(st.text() | st.text("aAnthe xray-.,'5mc \u0130ﬁß*( "))
@example("x (ray")
@example("- a - the a mass")
@example("a a an mass")
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("heart, lung and liver", "Liver, Heart, Lung"),
        ("Heart and Liver", "liver and the heart"),
        ("two", "2"),
        ("2", "Two"),
        ("5.0 cm", "5cm"),
        ("+", "+"),
    ],
)
def test_equivalent_answers_are_the_same(text: str, gold: str) -> None:
    assert same_answer(text, gold)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("none", "0"),
        ("5 mm", "5 cm"),
        ("50 mm", "5 cm"),  # units are not converted
        ("heart", "heart, lung"),
        ("heart, lung, liver", "heart, lung"),
        ("heart, heart", "heart"),
        ("left", "left lung"),
        ("right lung", "left lung"),
        ("pneumonias", "pneumonia"),
        ("heart attack", "myocardial infarction"),
        ("", "+"),
        ("1.5", "15"),
        ("1,5", "15"),
        ("", "lung"),
    ],
)
def test_similar_answers_are_not_the_same(text: str, gold: str) -> None:
    assert not same_answer(text, gold)


def test_f1_clips_repeated_tokens() -> None:
    assert token_f1("left left left left", "left lung") == pytest.approx(2 / 6)
    assert token_f1("left lung", "left lung") == 1.0
    assert token_f1("the left lung", "lung, left") == 1.0
    assert token_f1("", "left lung") == token_f1("heart", "left lung") == token_f1("", "") == 0.0


def test_listing_every_organ_costs_precision() -> None:
    assert token_f1("heart lung liver spleen kidney stomach colon brain", "lung") < 0.25


@given(st.text(), st.text())
def test_f1_is_symmetric_and_bounded(left: str, right: str) -> None:
    assert token_f1(left, right) == token_f1(right, left)
    assert 0.0 <= token_f1(left, right) <= 1.0


@given(st.permutations(["left lung", "heart", "5 mm nodule", "spleen"]))
def test_the_order_of_a_list_is_ignored(items: list[str]) -> None:
    assert same_answer(", ".join(items), "heart, left lung, spleen and 5 mm nodule")
