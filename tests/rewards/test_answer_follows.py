"""The answer_follows reward: whether the reasoning concludes the answer, by rule."""

import pytest

from lowmed import prompt
from lowmed.nano import phantom
from lowmed.rewards.answer_follows import AnswerFollows
from lowmed.sample import Sample

CHOICE = Sample("c", "Which?", "MRI", "choice", "g", "t", options=("CT", "MRI", "X-ray"))
CLOSED = Sample("y", "Is there a mass?", "no", "closed", "g", "t")
SIDE = Sample("d", "Is it on the left or the right side?", "left", "closed", "g", "t")
OPEN = Sample("o", "Where is it?", "lower lobe", "open", "g", "t")


@pytest.mark.parametrize(
    ("sample", "thought", "answer", "value"),
    [
        (CHOICE, "There is no bone ring. So this is an MRI.", "B", 1.0),
        (CHOICE, "There is no bone ring. So this is an MRI.", "A", 0.0),
        (CHOICE, "It could be a CT. But the tissue says MRI.", "B", 1.0),
        (CHOICE, "The tissue is textured and dark.", "B", None),
        (CHOICE, "It is a CT or an MRI or an X-ray.", "B", None),
        (CLOSED, "I see nothing there. The answer is no.", "no", 1.0),
        (CLOSED, "I see nothing there. The answer is no.", "yes", 0.0),
        (CLOSED, "I looked at all of it with care.", "yes", None),
        (SIDE, "The bright spot lies on the right.", "right", 1.0),
        (SIDE, "The bright spot lies on the right.", "left", 0.0),
        (OPEN, "A spot lies in the lower lobe.", "lower lobe", 1.0),
        (OPEN, "There is no spot in the lower lobe.", "lower lobe", 0.0),
        (OPEN, "There is a bright spot.", "lower lobe", None),
        (OPEN, "", "lower lobe", 0.0),
        (OPEN, "lobe lobe lobe lobe", "lower lobe", 0.0),
        (OPEN, "A spot lies in the lower lobe.", ":", 0.0),
        (OPEN, "A spot lies in the lower lobe.", "", 0.0),
    ],
)
def test_the_last_answer_named_in_the_reasoning_must_equal_the_answer(
    sample: Sample, thought: str, answer: str, value: float | None
) -> None:
    assert AnswerFollows()(sample, f"<think>{thought}</think><answer>{answer}</answer>").value == value


def test_two_answer_tags_earn_nothing() -> None:
    text = "<think>So this is an MRI scan.</think><answer>B</answer><answer>A</answer>"
    assert AnswerFollows()(CHOICE, text).value == 0.0


def test_generated_reasoning_concludes_its_answer_and_no_other() -> None:
    family, stated = prompt.family("reasoning"), 0
    for sample in phantom.samples("train", 200):
        value = AnswerFollows()(sample, prompt.reference_completion(family, sample)).value
        assert value in (1.0, None), sample
        stated += value == 1.0
        if sample.kind == "choice" and value:
            other = next(option for option in sample.options if option != sample.answer)
            assert AnswerFollows()(sample, f"<think>{sample.explanation}</think><answer>{other}</answer>").value == 0.0
    assert stated > 150


def test_it_abstains_on_json_and_on_answers_without_reasoning() -> None:
    report = Sample("j", "Report.", '{"a": 1}', "json", "g", "t")
    assert AnswerFollows()(report, '<think>a b c d</think><answer>{"a": 1}</answer>').value is None
    assert AnswerFollows("answer")(OPEN, "<answer>lower lobe</answer>").value is None
