"""Reasoning right or wrong by answer right or wrong: what counts, and what is counted apart."""

from typing import Any

import pytest

from lowmed.evaluation.metrics import metrics
from lowmed.evaluation.reasoning_cells import reasoning_cells, reasoning_outcome
from lowmed.evaluation.score import score_row

OPTIONS = ["CT", "MRI", "X-ray"]


def _row(answer: str, completion: str, group: str = "g", **more: Any) -> dict[str, Any]:
    row = {"id": "1", "question": "Which modality is it?", "finish_reason": "stop", "group": group, **more}
    return score_row({**row, "answer": answer, "completion": completion}, "row")


def _choice(thought: str, letter: str, group: str = "g") -> dict[str, Any]:
    return _row("MRI", f"<think>{thought}</think><answer>{letter}</answer>", group, options=OPTIONS)


@pytest.mark.parametrize(
    ("thought", "outcome"),
    [
        ("The fluid is bright. So this is an MRI.", "correct"),
        ("It may look like a CT. The bones are dark, so it is an MRI.", "correct"),
        ("It may look like an MRI. But the bones are bright, so it is a CT.", "incorrect"),
        ("It is not a CT. The answer is B.", "correct"),
        ("It is either a CT or an MRI.", "unread"),
        ("The lungs are dark and the heart is large.", "unread"),
        ("MRI", "unread"),  # not a reasoning
        ("mri mri " * 30, "unread"),  # a loop
    ],
)
def test_the_last_sentence_that_names_one_option_decides(thought: str, outcome: str) -> None:
    for letter in "AB":
        assert reasoning_outcome(_choice(thought, letter)) == outcome


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "<answer>B</answer>",
        "So this is surely an MRI. <answer>B</answer>",
        "<think>So this is surely an MRI.",
        "<think>So this is surely an MRI.</think>",
        "<think>So this is surely an MRI.</think><think>Or a CT.</think><answer>B</answer>",
    ],
)
def test_reasoning_without_one_closed_block_before_an_answer_is_unread(completion: str) -> None:
    assert reasoning_outcome(_row("MRI", completion, options=OPTIONS)) == "unread"


@pytest.mark.parametrize(
    ("answer", "completion", "outcome"),
    [
        ("yes", "<think>There is a dark line. So there is a fracture, yes.</think><answer>no</answer>", "correct"),
        ("yes", "<think>The bone is smooth. The answer is no.</think><answer>yes</answer>", "incorrect"),
    ],
)
def test_closed_questions_are_read_as_answers_are(answer: str, completion: str, outcome: str) -> None:
    assert reasoning_outcome(_row(answer, completion)) == outcome


@pytest.mark.parametrize(
    ("thought", "answer", "outcome"),
    [
        ("The left costophrenic angle is blunted: a pleural effusion.", "pneumonia", "correct"),
        ("There is no pleural effusion in this image.", "pneumonia", "incorrect"),
        ("The opacity in the lobe is a pneumonia.", "pneumonia", "incorrect"),
        ("The heart and the lungs look as usual.", "pneumonia", "unread"),
    ],
)
def test_open_questions_need_the_words_of_an_answer(thought: str, answer: str, outcome: str) -> None:
    row = _row("pleural effusion", f"<think>{thought}</think><answer>{answer}</answer>", kind="open")
    assert reasoning_outcome(row) == outcome


def test_every_row_is_in_one_cell_and_the_shares_are_those_of_the_cells() -> None:
    right, wrong, unclear = "It must be an MRI.", "It must be a CT.", "The heart is large."
    rows = [_choice(right, "B", f"a{at}") for at in range(30)]
    rows += [_choice(right, "A", f"b{at}") for at in range(10)]
    rows += [_choice(wrong, "B", f"c{at}") for at in range(6)]
    rows += [_choice(wrong, "A", f"d{at}") for at in range(4)]
    rows += [_choice(unclear, "B", f"e{at}") for at in range(3)]
    rows += [_row("MRI", "<answer>B</answer>", "f", options=OPTIONS), _row("MRI", "", "g", options=OPTIONS)]
    cells = reasoning_cells(rows)
    assert cells is not None
    counts = (cells.both_right, cells.only_reasoning_right, cells.only_answer_right, cells.both_wrong)
    assert counts == (30, 10, 6, 4)
    assert (cells.unread_answer_right, cells.unread_answer_wrong) == (4, 1)
    assert sum(counts) + 5 == len(rows)
    answer_right, reasoning_right = cells.answer_right_if_reasoning_right, cells.reasoning_right_if_answer_right
    assert answer_right is not None
    assert reasoning_right is not None
    assert (answer_right.n, answer_right.share) == (40, 0.75)
    assert reasoning_right.n == 36
    assert reasoning_right.share == pytest.approx(30 / 36)
    assert answer_right.by_image[0] < 0.75 < answer_right.by_image[1]
    assert metrics([{**row, "split": "test"} for row in rows]).reasoning == cells


def test_completions_without_a_think_block_have_no_cells() -> None:
    assert reasoning_cells([_row("MRI", "<answer>B</answer>", options=OPTIONS)]) is None


def test_shares_without_rows_are_absent() -> None:
    cells = reasoning_cells([_choice("The heart is large.", "A")])
    assert cells is not None
    assert (cells.answer_right_if_reasoning_right, cells.reasoning_right_if_answer_right) == (None, None)
