"""The accuracy reward: exactly the strictly correct answers of evaluation."""

import pytest

from lowmed.rewards.accuracy import Accuracy
from lowmed.sample import Sample

CHOICE = Sample("c", "Which?", "MRI", "choice", "g", "t", options=("CT", "MRI", "X-ray"))
CLOSED = Sample("y", "Is it normal?", "no", "closed", "g", "t")
OPEN = Sample("o", "Where?", "left lower lobe", "open", "g", "t")
ALSO = Sample("a", "Where?", "left lower lobe", "open", "g", "t", accepted=("base of the left lung", "left base"))
COUNT = Sample("n", "How many?", "2", "open", "g", "t")


@pytest.mark.parametrize(
    ("sample", "completion", "value"),
    [
        (CHOICE, "<think>x</think>\n<answer>B</answer>\n", 1.0),
        (CHOICE, "<answer>\nB) MRI\n</answer>", 1.0),
        (CHOICE, "<answer>mri.</answer>", 1.0),
        (CHOICE, "<answer>A</answer>", 0.0),
        (CHOICE, "<answer>It is a mass, B</answer>", 1.0),
        (CHOICE, "<answer>It is a CT, B</answer>", 0.0),
        (CHOICE, "<answer>A chest x-ray shows B</answer>", 0.0),
        (CHOICE, "B", 0.0),
        (CHOICE, "The answer is B", 0.0),
        (CHOICE, "<think><answer>B</answer></think><answer>A</answer>", 0.0),
        (CHOICE, "<answer>B</answer><answer>B</answer>", 0.0),
        (CLOSED, "<answer>No, it is not.</answer>", 1.0),
        (CLOSED, "<answer>not normal</answer>", 0.0),
        (CLOSED, "<answer>abnormal</answer>", 0.0),
        (CLOSED, "<answer>yes and no</answer>", 0.0),
        (OPEN, "<answer>The left-lower lobe</answer>", 1.0),
        (OPEN, "<answer>left lower lobe, right lower lobe</answer>", 0.0),
        (ALSO, "<answer>left base</answer>", 1.0),
        (ALSO, "<answer>Base of the left lung.</answer>", 1.0),
        (ALSO, "<answer>right base</answer>", 0.0),
        (COUNT, "<answer>two</answer>", 1.0),
        (COUNT, "<answer>3</answer>", 0.0),
        (OPEN, "", 0.0),
    ],
)
def test_only_a_right_answer_in_its_tag_is_paid(sample: Sample, completion: str, value: float) -> None:
    assert Accuracy()(sample, completion).value == value


def test_the_reason_distinguishes_unread_from_wrong() -> None:
    assert Accuracy()(CLOSED, "no").why == "no single answer tag (whole)"
    assert Accuracy()(CLOSED, "<answer>maybe</answer>").why == "unread (no_candidate)"
    assert Accuracy()(CLOSED, "<answer>yes</answer>").why == "wrong"
    assert Accuracy()(CLOSED, "<answer>yes</answer>").parsed == "yes"


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("left lower lobe", 1.0),
        ("lower lobe", 0.8),
        ("lower lobe of left lung", 0.75),
        ("right lower lobe", 0.0),
        ("left upper lobe", 0.0),
        ("no left lower lobe", 0.0),
        ("left left left left", pytest.approx(2 / 7)),
        ("heart", 0.0),
        ("I do not know", 0.0),
        ("left lower lobe, pleura, heart", 0.0),
        ("left lower lobe or pleura", 0.0),
    ],
)
def test_graded_pays_overlap_without_contradiction(answer: str, value: float) -> None:
    assert Accuracy(graded=True)(OPEN, f"<answer>{answer}</answer>").value == value


def test_graded_does_not_apply_to_choices_or_yes_no_questions() -> None:
    nested = Sample("c", "Which?", "left lung", "choice", "g", "t", options=("left lung", "left lung base"))
    assert Accuracy(graded=True)(nested, "<answer>left lung base</answer>").value == 0.0
    assert Accuracy(graded=True)(CLOSED, "<answer>not normal</answer>").value == 0.0
