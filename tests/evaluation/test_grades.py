"""Scoring an evaluation again shows which questions another version of the answer rules grades differently."""

import json
from pathlib import Path

import pytest
from predictors import division, evaluated, perfect

from lowmed.evaluation import grades
from lowmed.evaluation.report import write_report
from lowmed.nano import phantom
from lowmed.report import eval_table

TEST = phantom.samples("test", 12)


def test_an_evaluation_that_is_scored_twice_by_the_same_rules_has_no_changes(tmp_path: Path) -> None:
    evaluated(tmp_path, division(TEST), perfect, controls=0)
    assert write_report(tmp_path).changes == ()
    assert write_report(tmp_path).changes == ()


def test_changed_grades_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(tmp_path, division(TEST), perfect, controls=0)
    write_report(tmp_path)
    file = tmp_path / grades.FILE
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines[:7]:  # as if earlier rules had left them unread
        line.update(outcome="unread", strict="unread", rules=1)
    lines[7].update(outcome="incorrect", strict="incorrect", rules=1)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = write_report(tmp_path)
    assert [(change.before, change.after, change.questions) for change in report.changes] == [
        ("unread", "correct", 7),
        ("incorrect", "correct", 1),
    ]
    assert report.changes[1].examples == (lines[7]["id"],)
    eval_table.show_eval(report)
    assert "base: unread -> correct, 7 questions" in " ".join(capsys.readouterr().out.split())
    assert write_report(tmp_path).changes == ()
