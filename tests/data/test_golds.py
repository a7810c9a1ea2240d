"""Gold answers of other people's tables: in tags, in lists, as letters."""

from typing import Any

import pytest

from lowmed.data.ingest.cells import Options, labelled
from lowmed.data.ingest.golds import chosen_option, gold_texts, require_agreement, require_no_lone_letter, split_tags

TWO = labelled(["left lung", "right lung"])
FOUR = labelled(["effusion", "mass", "fracture", "normal"])


@pytest.mark.parametrize(
    ("cell", "golds"),
    [
        ("left", ("left",)), ("<answer> A </answer>", ("A",)), ("<think>x</think><answer>no</answer>", ("no",)),
        ("<think>x</think> no", ("no",)), ("\\boxed{3}", ("3",)), ("$\\boxed{\\text{left}}$", ("left",)),
        (["pleural effusion", "effusion"], ("pleural effusion", "effusion")), (["left"], ("left",)),
        ("['a b', 'c']", ("a b", "c")), ('["a b", "c"]', ("a b", "c")), (["Left", "left.", "left"], ("Left",)),
        ([1, 2, 3, 4], ("[1, 2, 3, 4]",)), ("[1, 2, 3, 4]", ("[1, 2, 3, 4]",)), ([3], ("3",)), (3.0, ("3",)),
        (True, ("yes",)), ({"side": "left"}, ('{"side": "left"}',)), ([], ()), (None, ()), ("", ()), ({}, ()),
        (["<answer>A</answer>"], ("A",)), ("<answer>first</answer> then <answer>second</answer>", ("second",)),
    ],
)  # fmt: skip
def test_golds_are_read_out_of_tags_and_lists(cell: Any, golds: tuple[str, ...]) -> None:
    assert gold_texts(cell) == golds


def test_reasoning_in_tags_is_the_explanation() -> None:
    assert split_tags("<think>Fluid  is bright.</think>\n<answer>B</answer>") == ("B", "Fluid is bright.")


@pytest.mark.parametrize(
    ("gold", "option"),
    [
        ("right lung", "right lung"), ("Right Lung", "right lung"), ("B", "right lung"), ("b", "right lung"),
        ("(B)", "right lung"), ("B.", "right lung"), ("B: right lung", "right lung"), ("A) left lung", "left lung"),
        ("[B]", "right lung"), ("（B）", "right lung"), ("B、right lung", "right lung"),
    ],
)  # fmt: skip
def test_a_gold_is_a_text_or_a_letter(gold: str, option: str) -> None:
    assert chosen_option([gold], TWO, is_letter=False) == option
    assert chosen_option([gold, option], TWO, is_letter=False) == option


@pytest.mark.parametrize("gold", ["C", "lung", "left", "A: right lung", "1", "0"])
def test_a_gold_that_is_not_an_option_is_rejected(gold: str) -> None:
    with pytest.raises(ValueError, match="answer"):
        chosen_option([gold], TWO, is_letter=False)


@pytest.mark.parametrize("golds", [["A,C"], ["A, C"], ["AC"], ["A;C"], ["A and C"], ["(A) (C)"], ["A", "C"], ["ABD"]])
@pytest.mark.parametrize("is_letter", [False, True])
def test_several_right_options_are_rejected_by_name(golds: list[str], is_letter: bool) -> None:
    with pytest.raises(ValueError, match="several options are right"):
        chosen_option(golds, FOUR, is_letter=is_letter)


def test_a_letter_counts_in_the_labels_of_the_table() -> None:
    gap = labelled(["CT", "", "X-ray"])
    assert chosen_option(["C"], gap, is_letter=True) == "X-ray"
    with pytest.raises(ValueError, match="answer"):
        chosen_option(["B"], gap, is_letter=False)
    assert chosen_option(["2"], Options(("CT", "MRI"), ("1", "2")), is_letter=False) == "MRI"
    with pytest.raises(ValueError, match="text of one option and the letter of another"):
        chosen_option(["2"], Options(("2", "3"), ("1", "2")), is_letter=False)


def test_an_option_that_is_the_letter_of_another_is_rejected_unless_the_column_holds_letters() -> None:
    choices = labelled(["C", "D", "A", "B"])
    with pytest.raises(ValueError, match="text of one option and the letter of another"):
        chosen_option(["C"], choices, is_letter=False)
    assert chosen_option(["C"], choices, is_letter=True) == "A"


@pytest.mark.parametrize("gold", ["A", "b", "(C)", "D.", "[A]", "C)", "T"])
def test_a_letter_without_options_is_no_gold(gold: str) -> None:
    with pytest.raises(ValueError, match="the answer is a letter"):
        require_no_lone_letter([gold])


@pytest.mark.parametrize("gold", ["y", "N", "2", "CT", "vitamin C", "Grade A", "A mass"])
def test_other_short_golds_are_no_letters(gold: str) -> None:
    require_no_lone_letter([gold])


@pytest.mark.parametrize("golds", [["effusion", "fluid"], ["left base", "base of the left lung"], ["no", "No."], []])
def test_answers_that_agree_are_accepted(golds: list[str]) -> None:
    require_agreement(golds)


@pytest.mark.parametrize("golds", [["yes", "no"], ["left", "right"], ["mass", "no mass"], ["yes", "yes", "no"]])
def test_answers_that_contradict_each_other_are_refused(golds: list[str]) -> None:
    with pytest.raises(ValueError, match="contradict each other"):
        require_agreement(golds)
