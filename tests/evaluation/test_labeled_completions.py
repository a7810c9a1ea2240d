"""Labeled completions of a probe: which completions are good and bad, and how many of a question are taken."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from probed import RIGHT, UNUSED, WRONG, Completion, probed, turn

from lowmed.errors import DataError
from lowmed.evaluation.labeled_completions import LabeledReport, labeled_of_probe


def labels(report: LabeledReport) -> list[tuple[str, str, bool]]:
    return [(row.id, row.completion.completion, row.completion.label) for row in report.rows]


def test_distinct_completions_of_questions_that_are_always_right_or_always_wrong_are_labeled(tmp_path: Path) -> None:
    wrong = turn("I see it on the right.", "right")
    questions: list[Sequence[Completion]] = [[(RIGHT, 20), (RIGHT, 20), (RIGHT + "\n", 21)], [(wrong, 18)]]
    report = labeled_of_probe(probed(tmp_path / "p", *questions), per_question=5)
    assert labels(report) == [("1", RIGHT + "\n", True), ("2", wrong, False)]
    assert report.completions == {"right": 3, "wrong": 1}
    assert (report.mean_tokens(True), report.mean_tokens(False)) == (21, 18)


def test_the_first_ones_of_each_label_are_taken(tmp_path: Path) -> None:
    right = [turn(f"I see a bright lesion, number {number}.", "yes") for number in (3, 1, 2)]
    wrong = [turn(f"I see dark lung only, number {number}.", "no") for number in (2, 1)]
    folder = probed(tmp_path / "p", [(text, 20) for text in (*wrong, *right)])
    report = labeled_of_probe(folder, per_question=2)
    assert labels(report) == [
        *(("1", text, True) for text in right[:2]), *(("1", text, False) for text in wrong),
    ]  # fmt: skip


@pytest.mark.parametrize("use", UNUSED)
def test_other_completions_have_no_label(use: str, tmp_path: Path) -> None:
    report = labeled_of_probe(probed(tmp_path / "p", [UNUSED[use], (RIGHT, 20), (WRONG, 20)]), per_question=5)
    assert labels(report) == [("1", RIGHT, True), ("1", WRONG, False)]
    assert report.completions == {use: 1, "right": 1, "wrong": 1}


@pytest.mark.parametrize(("only", "missing"), [(RIGHT, "wrong"), (WRONG, "right")])
def test_a_probe_with_one_label_is_refused(only: str, missing: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no completion of the probe is {missing} in full form"):
        labeled_of_probe(probed(tmp_path / "p", [(only, 20)]), per_question=2)
