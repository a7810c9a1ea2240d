"""Answers read without a gold answer: the question decides what is read, and equal answers are equal votes."""

from dataclasses import replace

import pytest

from lowmed import answer
from lowmed.sample import Kind, Sample

SIDE = Sample("s", "Is it on the left or right side?", "left", "closed", "g", "t")
LESION = Sample("l", "Is there a lesion?", "yes", "closed", "g", "t")
CHOICE = Sample("c", "Which organ?", "lung", "choice", "g", "t", options=("lung", "liver", "heart"))
OPEN = Sample("o", "What is seen?", "a mass", "open", "g", "t")
NUMBER = Sample("n", "How large is it?", "5", "number", "g", "t", unit="cm")


def read(sample: Sample, text: str) -> str | None:
    return answer.read_without_gold(f"<think>I looked.</think><answer>{text}</answer>", sample).value


@pytest.mark.parametrize(
    ("sample", "text", "value"),
    [
        (LESION, "Yes, in the left lung.", "yes"),
        (LESION, "no", "no"),
        (LESION, "yes and no", None),
        (SIDE, "It is the right one", "right"),
        (SIDE, "left or right", None),
        (CHOICE, "B", "liver"),
        (CHOICE, "B. liver", "liver"),
        (CHOICE, "A or B", None),
        (OPEN, "A Mass.", "mass"),
        (OPEN, "I cannot say.", None),
        (OPEN, "!", None),
        (NUMBER, "The size is 5.0 cm", "5 cm"),
        (NUMBER, "between 4 and 6", None),
        (NUMBER, "120/80", "120, 80"),
    ],
)
def test_the_question_decides_what_is_read(sample: Sample, text: str, value: str | None) -> None:
    assert read(sample, text) == value


@pytest.mark.parametrize("completion", ["yes", "The answer is yes.", "<answer>yes</answer><answer>no</answer>", ""])
def test_only_the_answer_in_the_only_tag_is_read(completion: str) -> None:
    assert answer.read_without_gold(completion, LESION).value is None


@pytest.mark.parametrize(
    ("sample", "other"),
    [
        (SIDE, "right"), (SIDE, "yes"), (SIDE, "a finding"),
        (LESION, "no"), (LESION, "left"), (LESION, "pneumonia"),
        (CHOICE, "heart"), (OPEN, "yes"), (OPEN, "12 cm"), (OPEN, "a small mass"),
        (NUMBER, "2023-08-12"), (NUMBER, "3/4"), (NUMBER, "120/80"), (NUMBER, "7"),
    ],
)  # fmt: skip
def test_the_gold_answer_changes_nothing(sample: Sample, other: str) -> None:
    texts = ("yes", "No.", "left", "the right side", "B", "heart", "5 cm", "5", "3/4", "2023-08-12", "12, 13", "a mass")
    changed = replace(sample, answer=other, unit="")
    assert [read(sample, text) for text in texts] == [read(changed, text) for text in texts]


@pytest.mark.parametrize(
    ("sample", "value", "chance"),
    [(LESION, "yes", 1 / 2), (SIDE, "left", 1 / 2), (SIDE, "lung", 0), (CHOICE, "liver", 1 / 3), (OPEN, "mass", 0)],
)
def test_the_chance_of_an_answer_is_that_among_those_the_question_offers(
    sample: Sample, value: str, chance: float
) -> None:
    assert answer.chance(value, sample) == chance


@pytest.mark.parametrize(
    ("kind", "first", "second", "same"),
    [
        ("open", "liver and spleen", "spleen, liver", True),
        ("ordered", "liver, spleen", "spleen, liver", False),
        ("number", "5", "5.0", True),
        ("number", "5", "5 cm", False),
        ("number", "5 cm", "5 mm", False),
        ("open", "left lung", "lung", False),
    ],
)
def test_equal_answers_agree_whichever_comes_first(kind: Kind, first: str, second: str, same: bool) -> None:
    sample = replace(OPEN, kind=kind)
    assert answer.agree(first, second, sample) == answer.agree(second, first, sample) == same
