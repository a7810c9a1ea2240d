"""The format reward: the requested tags, none of them empty."""

import pytest

from lowmed.rewards.format import Format
from lowmed.sample import Sample

SAMPLE = Sample("s", "Where?", "left lung", "open", "g", "t")
THOUGHT = "The left lung is darker."


@pytest.mark.parametrize(
    "completion",
    [
        f"<think>{THOUGHT}</think><answer>left lung</answer>",
        f"\n<think>\n{THOUGHT}\n</think>\n\n<answer>\nleft lung\n</answer>\n",
        f"<think>{THOUGHT}</think><answer>wrong</answer>",
        "<think>左肺较暗</think><answer>左肺</answer>",
    ],
)
def test_the_form_is_paid_for_right_and_wrong_answers(completion: str) -> None:
    assert Format()(SAMPLE, completion).value == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "left lung",
        "<answer>left lung</answer>",
        "<think></think><answer></answer>",
        "<think></think><answer>left lung</answer>",
        f"<think>{THOUGHT}</think><answer></answer>",
        f"<think>{THOUGHT}</think><answer> . </answer>",
        f"<think>{THOUGHT}</think><answer>{'lung ' * 33}</answer>",
        "<think>left lung</think><answer>left lung</answer>",
        "<think>Thought process:</think><answer>left lung</answer>",
        f"<think>{'think ' * 50}</think><answer>left lung</answer>",
        f"<think>{'let me think about it again ' * 40}</think><answer>left lung</answer>",
        f"<think>{THOUGHT}</think><answer>left lung</answer><answer>left lung</answer>",
        f"<think>{THOUGHT}</think><think>{THOUGHT}</think><answer>left lung</answer>",
        f"<think>{THOUGHT}<answer>left lung</answer></think>",
        f"<think>{THOUGHT}<answer>left</answer></think><answer>left lung</answer>",
        f"<answer>left lung</answer><think>{THOUGHT}</think>",
        f"<think>{THOUGHT}</think><answer>left lung</answer> and so on",
        f"So <think>{THOUGHT}</think><answer>left lung</answer>",
        f"<think>{THOUGHT}</think> hence <answer>left lung</answer>",
        f"<think>{THOUGHT}<answer>left lung</answer>",
        f"<think>{THOUGHT}</think><answer>left lung",
        f"<think>{THOUGHT}</think><answer>left </THINK> lung</answer>",
        f"{THOUGHT}</think><answer>left lung</answer>",
    ],
)
def test_empty_repeated_hidden_or_loose_parts_are_not_paid(completion: str) -> None:
    assert Format()(SAMPLE, completion).value == 0.0


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("<answer>left lung</answer>", 1.0),
        ("<answer>left lung</answer> indeed", 0.0),
        ("<answer></answer>", 0.0),
        ("<answer>a</answer><answer>b</answer>", 0.0),
        (f"<think>{THOUGHT}</think><answer>left lung</answer>", 0.0),
    ],
)
def test_the_answer_format_is_the_answer_tag_alone(completion: str, value: float) -> None:
    assert Format("answer")(SAMPLE, completion).value == value


def test_an_answer_may_be_as_long_as_the_gold_answer() -> None:
    gold = "finding " * 40
    long = Sample("s", "Report.", gold, "text", "g", "t")
    assert Format()(long, f"<think>{THOUGHT}</think><answer>{gold}</answer>").value == 1.0
