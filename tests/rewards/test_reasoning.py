"""The reasoning reward: agreement with the explanation, and none for a contradiction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed import rewards
from lowmed.errors import RunError
from lowmed.nano import phantom
from lowmed.rewards.reasoning import Reasoning
from lowmed.sample import Sample

EXPLANATION = "The right lung is clear. A large round mass lies in the left lower zone. No effusion is seen."
SAMPLE = Sample("s", "What is seen?", "mass", "open", "g", "t", explanation=EXPLANATION)
OTHERS = phantom.samples("train", 60)


def reasoning(*samples: Sample) -> Reasoning:
    return Reasoning().with_corpus([*OTHERS, *samples])


def _value(thought: str) -> float:
    value = reasoning(SAMPLE)(SAMPLE, f"<think>{thought}</think><answer>mass</answer>").value
    assert value is not None
    return value


def test_the_explanation_itself_earns_1() -> None:
    assert _value(EXPLANATION) == 1.0


def test_a_single_right_word_and_rambling_earn_less_than_an_honest_sentence() -> None:
    honest = _value("There is a round mass in the left lower zone and no effusion.")
    assert honest > 0.5
    assert _value("A mass here.") < honest
    assert (
        _value(EXPLANATION + " Also the ribs, spine and many other things could be described at length." * 8) < honest
    )


@pytest.mark.parametrize(
    "thought",
    [
        EXPLANATION.replace("left", "right"),
        EXPLANATION.replace("No effusion", "An effusion"),
        EXPLANATION.replace("lower", "upper"),
        EXPLANATION + " A large round mass lies in the right lower zone.",
        "No large round mass lies in the left lower zone.",
    ],
)
def test_a_contradiction_earns_nothing(thought: str) -> None:
    assert _value(thought) == 0.0


@pytest.mark.parametrize(
    "completion",
    [
        f"<think>{EXPLANATION}",
        f"{EXPLANATION}<answer>mass</answer>",
        f"<think>{EXPLANATION}</think>",
        f"<think>{EXPLANATION}</think><think>{EXPLANATION}</think><answer>mass</answer>",
        "<think>mass mass mass mass</think><answer>mass</answer>",
        "",
    ],
)
def test_reasoning_outside_the_think_block_earns_nothing(completion: str) -> None:
    assert reasoning(SAMPLE)(SAMPLE, completion).value == 0.0


@pytest.mark.parametrize(
    ("explanation", "thought"),
    [
        ("A mass lies in the left lung and no effusion.", "A mass lies in the left lung. There is no effusion."),
        ("A mass lies in the left lung. No effusion.", "A mass lies in the left lung, no effusion."),
        (
            "The left lung is clear. The right lung is not clear.",
            "The right lung is not clear. The left lung is clear.",
        ),
    ],
)
def test_the_same_findings_in_other_sentences_do_not_contradict(explanation: str, thought: str) -> None:
    sample = Sample("s", "What is seen?", "mass", "open", "g", "t", explanation=explanation)
    value = reasoning(sample)(sample, f"<think>{thought}</think><answer>mass</answer>").value
    assert value is not None
    assert value > 0.8


def test_it_abstains_without_an_explanation_or_requested_reasoning() -> None:
    unexplained = Sample("s", "What is seen?", "mass", "open", "g", "t")
    assert reasoning()(unexplained, "<think>a b c</think><answer>mass</answer>").value is None
    assert Reasoning("answer")(SAMPLE, "<answer>mass</answer>").value is None


def test_without_training_explanations_it_raises_and_does_not_pay() -> None:
    with pytest.raises(RunError, match="no training explanations"):
        Reasoning()(SAMPLE, f"<think>{EXPLANATION}</think><answer>mass</answer>")
    [built] = rewards.build([("reasoning", 1.0, {"by": "lexical"})])
    assert built(SAMPLE, f"<think>{EXPLANATION}</think><answer>mass</answer>").value == 1.0


def test_generated_explanations_earn_1_and_mirrored_ones_0() -> None:
    samples = phantom.samples("train", 200)
    reward = Reasoning().with_corpus(samples)
    mirrored = 0
    for sample in samples:
        assert reward(sample, f"<think>{sample.explanation}</think><answer>x</answer>").value == 1.0
        sides = {"left", "right"} & set(sample.explanation.replace(",", "").replace(".", "").split())
        if len(sides) == 1:
            mirror = sample.explanation.replace("left", "\x01").replace("right", "left").replace("\x01", "right")
            assert reward(sample, f"<think>{mirror}</think><answer>x</answer>").value == 0.0
            mirrored += 1
    assert mirrored > 50


@given(st.text() | st.text("left right no . ; and mass 5"), st.text() | st.text("left right no . ; and mass 5"))
def test_any_explanation_and_thought_have_a_value_in_range(explanation: str, thought: str) -> None:
    sample = Sample("s", "What is seen?", "mass", "open", "g", "t", explanation=explanation)
    value = reasoning(sample)(sample, f"<think>{thought}</think><answer>mass</answer>").value
    assert value is None or 0.0 <= value <= 1.0
