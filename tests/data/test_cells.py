"""Texts and options of table cells, in all common forms."""

import datetime
import re
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
    assert cells.options(cell) == cells.Options(TWO, ("A", "B"))


def test_labels_of_options_are_those_of_the_table() -> None:
    assert cells.options({"1": "a", "10": "c", "2": "b"}) == cells.Options(("a", "b", "c"), ("1", "2", "10"))
    assert cells.labelled(["CT", "", "X-ray"]) == cells.Options(("CT", "X-ray"), ("A", "C"))
    assert cells.labelled(["1.5 T", "2.5 T"]).texts == ("1.5 T", "2.5 T")


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (datetime.datetime(2025, 3, 4), "the date `2025-03-04"), (datetime.date(2025, 3, 4), "the date `2025-03-04"),
        (datetime.time(3, 4), "the time `03:04"), ("#N/A", "#N/A, the error of a spreadsheet"), ("#REF!", "#REF!"),
        ("#DIV/0!", "#DIV/0!"), ("#NV", "#NV"), (" #NAME? ", "#NAME?"),
    ],
)  # fmt: skip
def test_what_a_spreadsheet_destroyed_is_refused(cell: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        cells.text(cell)


def test_a_date_that_is_meant_is_a_text() -> None:
    assert cells.text(datetime.datetime(2025, 3, 4), dates=True) == "2025-03-04"
    assert cells.plain(datetime.date(2025, 3, 4)) == "2025-03-04"
    assert cells.plain("#N/A") == "#N/A"


@pytest.mark.parametrize("text", ["#1", "# of lesions", "#", "#3 rib", "C#"])
def test_a_text_with_a_number_sign_is_no_error(text: str) -> None:
    assert cells.text(text) == text


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
