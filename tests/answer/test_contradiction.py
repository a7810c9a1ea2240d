"""Contradictions that the gate rejects, and texts that it must accept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.answer import contradictions


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("right lung", "left lung", ("laterality",)),
        ("left", "bilateral", ("laterality",)),
        ("no effusion", "effusion", ("polarity",)),
        ("there isn't an effusion", "effusion", ("polarity",)),
        ("malignant mass", "benign mass", ("antonym",)),
        ("T2", "T1", ("antonym",)),
        ("coronal plane", "axial", ("antonym",)),
        ("hypodense", "hyperdense", ("antonym",)),
        ("right upper lobe", "left lower lobe", ("laterality", "antonym")),
    ],
)
def test_contradictions_are_found(prediction: str, gold: str, expected: tuple[str, ...]) -> None:
    assert contradictions(prediction, gold) == expected


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("lungs", "left lung"),
        ("nodule", "diagnosis of a normal nodule"),
        ("transverse", "axial"),
        ("right", "right of the midline, left of the heart"),
        ("right", "left " + "very " * 12 + "long gold answer"),
        ("upper and lower lobe", "lower lobe"),
        ("", "left lung"),
    ],
)
def test_texts_without_an_opposite_do_not_contradict(prediction: str, gold: str) -> None:
    assert contradictions(prediction, gold) == ()


@given(st.text())
def test_no_text_contradicts_itself(text: str) -> None:
    assert contradictions(text, text) == ()
