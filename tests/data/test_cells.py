"""Options and gold answers in all common forms."""

from typing import Any

import pytest

from lowmed.data.ingest import cells

TWO = ("left lung", "right lung")


@pytest.mark.parametrize(
    "cell",
    [
        ["left lung", "right lung"],
        {"A": "left lung", "B": "right lung"},
        {"B": "right lung", "A": "left lung"},
        '["left lung", "right lung"]',
        "['left lung', 'right lung']",
        '{"A": "left lung", "B": "right lung"}',
        "left lung|right lung",
        "left lung; right lung",
        "A. left lung B. right lung",
        "(A) left lung (B) right lung",
        "A: left lung\nB: right lung",
        ["A: left lung", "B: right lung"],
        ["A) left lung", "B) right lung"],
    ],
)
def test_options_are_read_in_every_form(cell: Any) -> None:
    assert cells.options(cell) == TWO


@pytest.mark.parametrize(
    ("question", "bare"),
    [
        ("Which side?\nA. left lung\nB. right lung", "Which side?"),
        ("Which side? Answer Choices: (A) left lung (B) right lung", "Which side?"),
        ("Which side? Options: A) left lung B) right lung", "Which side?"),
    ],
)
def test_options_in_the_question_are_removed_from_it(question: str, bare: str) -> None:
    assert cells.lettered_options(question) == (TWO, bare)


@pytest.mark.parametrize(
    "question", ["Is vitamin A. good?", "B. first A. second", "Hepatitis A: is it?", "A. B. C.", ""]
)
def test_text_that_resembles_options_is_unchanged(question: str) -> None:
    assert cells.lettered_options(question) == ((), question)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("right lung", "right lung"), ("Right Lung", "right lung"), ("B", "right lung"), ("b", "right lung"),
        ("(B)", "right lung"), ("B.", "right lung"), ("B: right lung", "right lung"), ("A) left lung", "left lung"),
    ],
)  # fmt: skip
def test_a_gold_is_a_text_or_a_letter(answer: str, expected: str) -> None:
    assert cells.gold(answer, TWO, is_letter=False) == expected


@pytest.mark.parametrize("answer", ["C", "lung", "left", "A: right lung", "1", "", "AB"])
def test_a_gold_answer_that_is_not_an_option_is_rejected(answer: str) -> None:
    with pytest.raises(ValueError, match="answer"):
        cells.gold(answer, TWO, is_letter=False)


def test_an_option_that_is_the_letter_of_another_is_rejected_unless_the_column_holds_letters() -> None:
    choices = ("C", "D", "A", "B")
    with pytest.raises(ValueError, match="text of one option and the letter of another"):
        cells.gold("C", choices, is_letter=False)
    assert cells.gold("C", choices, is_letter=True) == "A"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [(None, ""), (float("nan"), ""), (3.0, "3"), (2.5, "2.5"), (True, "yes"), ("  a \n b ", "a b"), (0, "0")],
)
def test_cells_are_texts_without_stray_space(cell: Any, expected: str) -> None:
    assert cells.text(cell) == expected


@pytest.mark.parametrize(
    ("label", "answer", "choices", "expected"),
    [
        ("OPEN", "lung", (), "open"), ("CLOSED", "left", (), "closed"), ("open", "Yes", (), "closed"),
        ("", "no", (), "closed"), ("", "lung", (), "open"), ("open", "left lung", TWO, "choice"),
        ("choice", "lung", (), "open"), ("json", "{}", (), "json"),
    ],
)  # fmt: skip
def test_the_kind_follows_options_label_and_answer(
    label: str, answer: str, choices: tuple[str, ...], expected: str
) -> None:
    assert cells.kind(label, answer, choices) == expected
