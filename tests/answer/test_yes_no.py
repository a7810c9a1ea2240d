"""Reading yes, no, neither, and the answers that a question offers."""

import pytest

from lowmed.answer import Question, grade, read, read_text


def _yes_no(text: str) -> str | None:
    return read_text(text, Question("closed", ("yes",)))[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Yes.", "yes"),
        ("**Yes**", "yes"),
        ("TRUE", "yes"),
        ("present", "yes"),
        ("Absent.", "no"),
        ("nope", "no"),
        ("Yes, there is no doubt", "yes"),
        ("Yes. The diagnosis is pneumonia", "yes"),
        ("Yes, it is.", "yes"),
        ("Yes. The cause is difficult to determine.", "yes"),
        ("Yes - on the left", "yes"),
        ("No - not on the left", "no"),
        ("No\nThere is no mass.", "no"),
        ("No, the heart is normal", "no"),
        ("no evidence of a fracture", "no"),
        ("I would say yes", "yes"),
        ("the answer is no", "no"),
        ("No, I cannot see a fracture", "no"),
        ("是的", "yes"),
        ("不是", "no"),
        ("不包含", "no"),
        ("不是，没有肿块", "no"),
        ("是的，有肿块", "yes"),
        ("没有", "no"),
        ("包含", "yes"),
    ],
)
def test_yes_and_no_are_read(text: str, value: str) -> None:
    assert _yes_no(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "not visible",
        "Normal heart size",
        "It is abnormal",
        "carcinoma",
        "nodule",
        "not sure",
        "I do not know",
        "I know it",
        "Eyes closed",
        "yes and no",
        "yes or no",
        "No, yes",
        "No yes",
        "yes/no",
        "Yes, no",
        "no idea",
        "No answer can be given",
        "not clear",
        "It cannot be determined",
        "No, it cannot be determined",
        "Perhaps yes. I do not know.",
        "There is no pneumothorax",
        "it is not a yes",
        "正常",
        "异常",
        "不知道",
    ],
)
def test_a_text_with_neither_yes_nor_no_is_unread(text: str) -> None:
    assert _yes_no(text) is None


@pytest.mark.parametrize("gold", ["Yes", "yes", "YES ", "是的", "存在"])
def test_gold_answers_of_yes_are_read_in_every_spelling(gold: str) -> None:
    question = Question("closed", (gold,))
    assert [grade(read(completion, question), question).outcome for completion in ("yes", "No", "left")] == [
        "correct",
        "incorrect",
        "unread",
    ]


BIGGEST = Question("closed", ("Lung",), question="Which is the biggest in this image,lung,liver or heart?")
WEIGHT = Question("closed", ("T2",), question="Is this a T1 weighted or T2 weighted MRI image?")
FLAIR = Question("closed", ("FLAIR",), question="Is this image modality T1, T2, or FLAIR?")
SIDE = Question("closed", ("Left side",), question="Are the loops on the right or left side?")


@pytest.mark.parametrize(
    ("question", "completion", "outcome"),
    [
        (BIGGEST, "lung", "correct"),
        (BIGGEST, "The lung is the biggest.", "correct"),
        (BIGGEST, "The liver.", "incorrect"),
        (BIGGEST, "not the lung", "unread"),
        (BIGGEST, "lung or liver", "unread"),
        (BIGGEST, "A", "incorrect"),  # no letters were offered
        (BIGGEST, "A. The heart", "incorrect"),
        (SIDE, "left side", "correct"),
        (SIDE, "right side", "incorrect"),
        (SIDE, "yes", "incorrect"),
        (WEIGHT, "T2", "correct"),
        (WEIGHT, "T2 weighted", "incorrect"),
        (FLAIR, "FLAIR", "correct"),
        (FLAIR, "a FLAIR image", "correct"),
        (FLAIR, "T1 and FLAIR", "unread"),
        (
            Question("closed", ("contrast",), question="Does this CT have contrast or no contrast?"),
            "no contrast",
            "incorrect",
        ),
        (Question("closed", ("left",), question="Is it left or right?"), "It is on the left.", "correct"),
        (Question("closed", ("left",), question="Is it left or right?"), "both left and right", "unread"),
    ],
)
def test_answers_offered_by_the_question_are_graded(question: Question, completion: str, outcome: str) -> None:
    assert grade(read(completion, question), question).outcome == outcome
