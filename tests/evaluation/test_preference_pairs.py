"""Pairs of a probe: which completions become chosen and rejected ones, and from which folders none are made."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from probed import RIGHT, SAMPLE, SPLIT, UNUSED, WRONG, Completion, probed, turn

from lowmed.errors import DataError, RunError
from lowmed.evaluation import results_folder
from lowmed.evaluation.controls import SAMPLED
from lowmed.evaluation.preference_pairs import PairsReport, pairs_of_probe


def texts(report: PairsReport) -> list[tuple[str, str]]:
    return [(row.pair.chosen, row.pair.rejected) for row in report.pairs]


def test_right_and_wrong_completions_in_full_form_are_paired_by_length(tmp_path: Path) -> None:
    longer = turn("I see a bright lesion in the middle of it.", "yes")
    longer_wrong = turn("I see dark lung only, on both of the sides.", "no")
    rows: list[Completion] = [(WRONG, 20), (RIGHT, 19), (longer, 30), (longer_wrong, 31), (RIGHT, 19)]
    report = pairs_of_probe(probed(tmp_path / "p", rows), per_question=5)
    assert texts(report) == [(longer, longer_wrong), (RIGHT, WRONG)]
    assert report.completions == {"right": 3, "wrong": 2}
    assert texts(pairs_of_probe(tmp_path / "p", per_question=1)) == [(longer, longer_wrong)]
    assert report.mean_tokens == (24.5, 25.5)


@pytest.mark.parametrize(("tokens", "pairs"), [(30, 1), (31, 0)])
def test_neither_completion_has_more_than_one_and_a_half_times_the_tokens(
    tokens: int, pairs: int, tmp_path: Path
) -> None:
    usable: list[Completion] = [(turn("I see it at the top.", "upper left"), 20), (turn("I see it here.", "right"), 20)]
    report = pairs_of_probe(probed(tmp_path / "p", [(RIGHT, 20), (WRONG, tokens)], usable), per_question=2)
    assert Counter(row.id for row in report.pairs)["1"] == pairs
    assert report.without == ({} if pairs else {"none of similar length": 1})


@pytest.mark.parametrize("use", UNUSED)
def test_other_completions_are_neither_chosen_nor_rejected(use: str, tmp_path: Path) -> None:
    folder = probed(tmp_path / "p", [UNUSED[use], (RIGHT, 20), (WRONG, 20)])
    report = pairs_of_probe(folder, per_question=5)
    assert texts(report) == [(RIGHT, WRONG)]
    assert report.completions == {use: 1, "right": 1, "wrong": 1}


def test_two_tags_are_not_in_full_form(tmp_path: Path) -> None:
    twice = RIGHT + "<answer>no</answer>"
    with pytest.raises(DataError, match="no right completion 1"):
        pairs_of_probe(probed(tmp_path / "p", [(twice, 20), (WRONG, 20)]), per_question=2)


def test_completions_of_held_out_questions_are_refused(tmp_path: Path) -> None:
    held_out = replace(SPLIT, train=(), held_out={"test": (SAMPLE,)}, images_in_train={"test": frozenset()},
                       images_in_published_train={"test": frozenset()})  # fmt: skip
    folder = probed(tmp_path / "p", [(RIGHT, 20), (WRONG, 20)], split=held_out)
    with pytest.raises(RunError, match=r"completions of held-out questions \(test\), which are never trained on"):
        pairs_of_probe(folder, per_question=2)


def test_a_folder_without_a_probe_or_without_its_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        pairs_of_probe(tmp_path, per_question=2)
    folder = probed(tmp_path / "p", [(RIGHT, 20)])
    results_folder.completions_file(folder, "base", SAMPLED).unlink()
    with pytest.raises(RunError, match="no sampled completions"):
        pairs_of_probe(folder, per_question=2)
