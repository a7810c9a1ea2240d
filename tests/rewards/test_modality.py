"""The modality reward: the modality is named, not denied, and no other is."""

import pytest

from lowmed.rewards.modality import Modality
from lowmed.sample import Sample


def sample(modality: str) -> Sample:
    return Sample("s", "What is shown?", "mass", "open", "g", "t", modality=modality)


@pytest.mark.parametrize(
    ("modality", "text", "value"),
    [
        ("CT", "This CT shows it.", 1.0),
        ("CT", "This computed tomography shows it.", 1.0),
        ("MRI", "This CT shows it.", 0.0),
        ("MRI", "This is not a CT but an MRI.", 1.0),
        ("MR (Mag-netic Resonance Imaging)", "The magnetic resonance image shows it.", 1.0),
        ("X-ray", "The chest X-ray shows it.", 1.0),
        ("X-ray", "Two radiographs show it.", 1.0),
        ("X-ray", "It is a CT, an MRI, an X-ray or an ultrasound.", 0.0),
        ("OCT", "Optical coherence tomography of the retina.", 1.0),
        ("CT", "Optical coherence tomography of the retina.", 0.0),
        ("thermography", "The thermography shows it.", 1.0),
        ("CT", "The scan shows it.", None),
        ("CT", "The act of a director.", None),
        ("", "This CT shows it.", None),
    ],
)
def test_only_the_right_modality_alone_is_paid(modality: str, text: str, value: float | None) -> None:
    completion = f"<think>{text}</think><answer>mass</answer>"
    assert Modality()(sample(modality), completion).value == value


def test_the_option_behind_a_letter_names_the_modality() -> None:
    choice = Sample("c", "Which modality?", "MRI", "choice", "g", "t", options=("CT", "MRI"), modality="MRI")
    assert Modality()(choice, "<think>It has texture.</think><answer>B</answer>").value == 1.0
    assert Modality()(choice, "<think>It has texture.</think><answer>A</answer>").value == 0.0


def test_tags_separate_words() -> None:
    text = "<think>It shows texture, CT</think><answer>scan</answer>"
    assert Modality()(sample("CT"), text).value == 1.0
