"""Reading and grading together: strictness, several gold answers, JSON, hostile texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.answer import Question, grade, read

OPEN = Question("open", ("left lung", "left hemithorax"))
CHOICE = Question("choice", ("MRI",), ("CT", "MRI"))
ALL = [
    OPEN,
    CHOICE,
    Question("closed", ("no",)),
    Question("json", ('{"side": "left"}',)),
    Question("text", ("a mass",)),
]


@pytest.mark.parametrize(
    ("completion", "lenient", "strict"),
    [
        ("<think>x</think><answer>Left lung.</answer>", "correct", "correct"),
        ("<answer>the left hemithorax</answer>", "correct", "correct"),
        ("<answer>right lung</answer>", "incorrect", "incorrect"),
        ("left lung", "correct", "unread"),
        ("<answer>left lung</answer><answer>left lung</answer>", "correct", "unread"),
        ("<think>left lung</think>", "unread", "unread"),
        ("<answer>I do not know</answer>", "unread", "unread"),
        ("<answer>:</answer>", "unread", "unread"),
        ("spleen", "incorrect", "unread"),
        ("", "unread", "unread"),
    ],
)
def test_open_answers_are_graded(completion: str, lenient: str, strict: str) -> None:
    verdict = grade(read(completion, OPEN), OPEN)
    assert (verdict.outcome, verdict.strict_outcome) == (lenient, strict)


def test_a_gold_answer_that_reads_like_a_refusal_can_be_matched() -> None:
    question = Question("open", ("Unknown",))
    assert grade(read("<answer>unknown</answer>", question), question).strict_outcome == "correct"


@pytest.mark.parametrize(
    ("completion", "outcome"),
    [
        ('<answer>{"findings": ["Mass", "effusion"], "side": "LEFT"}</answer>', "correct"),
        ('```json\n{"side": "left", "findings": ["effusion", "mass"]}\n```', "correct"),
        ('{"side": "right", "findings": ["effusion", "mass"]}', "incorrect"),
        ('{"side": "left"', "unread"),
        ("left", "unread"),
    ],
)
def test_json_is_compared_by_content(completion: str, outcome: str) -> None:
    question = Question("json", ('{"side": "left", "findings": ["mass", "effusion"]}',))
    assert grade(read(completion, question), question).outcome == outcome


def test_the_order_of_numbers_in_json_matters() -> None:
    question = Question("json", ("[1, 2.0, 3]",))
    assert grade(read("[1, 2, 3]", question), question).outcome == "correct"
    assert grade(read("[3, 2, 1]", question), question).outcome == "incorrect"


@given(
    st.text() | st.text("<>/answerthink\\boxed{}ABC.,:;!? \n"),
    st.sampled_from(ALL),
    st.sampled_from(["stop", "length"]),
)
def test_any_text_is_graded_and_strict_implies_lenient(completion: str, question: Question, finish_reason: str) -> None:
    answer = read(completion, question, finish_reason)
    verdict = grade(answer, question)
    assert verdict.strict_outcome in (verdict.outcome, "unread")
    assert (answer.value is None) == (verdict.outcome == "unread")
    assert answer.value is not None or answer.flags


@pytest.mark.parametrize(
    "unit",
    [
        "option B ",
        "no CT, ",
        "<answer>",
        "\\boxed{",
        "\\text{",
        "{",
        "if ",
        "answer is ",
        "\n",
        "CT ",
        "A. CT\n",
        "a ",
        "</think><answer>",
    ],
)
def test_long_hostile_completions_are_read_in_linear_time(unit: str) -> None:
    completion = unit * (20_000 // len(unit))  # a reader that is not linear would need minutes for some of them
    for question in ALL:
        assert grade(read(completion, question), question).strict_outcome == "unread"
        assert grade(read(completion, question, "length"), question).strict_outcome == "unread"
