"""The short output of `lowmed eval`: the verdict and one row a split."""

from pathlib import Path

import pytest
from predictors import division, evaluated, perfect, question_only

from lowmed.evaluation.report import report
from lowmed.nano import phantom
from lowmed.report import eval_summary

TEST = phantom.samples("test", 60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = division(TEST, phantom.samples("train", 60))
    evaluated(tmp_path / "e", data, perfect, controls=0, system="base")
    evaluated(tmp_path / "e", data, question_only, controls=20, system="tuned")
    return tmp_path / "e"


def test_it_has_the_verdict_and_the_accuracy_in_at_most_twelve_lines(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eval_summary.show_summary([report(folder)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) <= 12
    assert any(
        line.startswith("PROBLEM  Accuracy on 60 questions of phantom (`test`) FELL from 100 %") for line in lines
    )
    row = next(line for line in lines if line.startswith("test "))
    assert row.split()[1:5] == ["60", "60", f"{report(folder).splits['test'].no_image_floor:.3f}", "1.000"]


def test_quiet_has_the_verdict_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eval_summary.show_summary([report(folder)], verdict_only=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert not any(line.startswith("test ") for line in lines)
    assert any(line.startswith("PROBLEM") for line in lines)
