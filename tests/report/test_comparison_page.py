"""The page of several runs."""

import json
import shutil
from pathlib import Path

import pytest
import typer
from predictors import division, evaluated, perfect
from typer.testing import CliRunner

from lowmed.api.report import report_runs
from lowmed.cli.report import report as command
from lowmed.errors import RunError
from lowmed.nano import phantom
from lowmed.run import Run, open_run

TEST = phantom.samples("test", 60)


@pytest.fixture
def other(finished: Run) -> Run:
    """The same run with a tuned model that is always right."""
    folder = finished.folder.parent / "other"
    shutil.copytree(finished.folder, folder)
    (folder / "evals" / "phantom" / "tuned.jsonl").unlink()
    data = division(TEST, phantom.samples("train", 60))
    evaluated(folder / "evals" / "phantom", data, perfect, controls=0, system="tuned")
    return open_run(str(folder))


def test_each_run_is_compared_with_the_first(finished: Run, other: Run) -> None:
    page = report_runs([finished.folder, other.folder]).read_text()
    assert "other against run on 60 questions of phantom: 100 % instead of" in page
    assert "points, 95 % interval" in page
    assert ", better." in page
    assert page.count('class="chart"') >= 2
    back = report_runs([other.folder, finished.folder]).read_text()
    assert ", worse." in back


def test_runs_that_cannot_be_compared_are_on_the_page_with_the_reason(finished: Run, other: Run) -> None:
    settings = other.folder / "evals" / "phantom" / "settings.json"
    changed = {**json.loads(settings.read_text()), "max_new_tokens": 65}
    settings.write_text(json.dumps(changed))
    page = report_runs([finished.folder, other.folder]).read_text()
    assert "other is not compared with run: the two evaluations differ: max_new_tokens" in page
    assert 'class="verdict fail"' in page


def test_equal_names_get_their_directories(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "b" / "run")
    page = report_runs([finished.folder, tmp_path / "b" / "run"], out=tmp_path / "c.html").read_text()
    assert "b/run against" in page
    assert ", no significant difference." in page


def test_the_command_writes_one_page_and_spares_other_files(finished: Run, other: Run, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    arguments = [str(finished.folder), str(other.folder), "--out", str(tmp_path / "c.html")]
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(result.stdout) == {"report": str(tmp_path / "c.html")}
    with pytest.raises(RunError, match="shows no images"):
        CliRunner().invoke(app, [*arguments, "--with-images"], catch_exceptions=False)
    (tmp_path / "c.html").write_text("mine")
    with pytest.raises(RunError):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert (tmp_path / "c.html").read_text() == "mine"
