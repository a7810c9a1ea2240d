"""`lowmed score` from the command line: what it prints, writes and refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.errors import DataError, RunError

ROW = {"id": "é", "question": "?", "answer": "yes", "completion": "<answer>Yes \ud800</answer>", "modality": "CT"}


def _file(folder: Path) -> Path:
    path = folder / "p.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    return path


def test_stdout_holds_only_json(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["score", str(_file(tmp_path)), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["n"] == 1


def test_rows_and_summary_are_written_even_if_a_completion_is_not_utf8(tmp_path: Path) -> None:
    out = tmp_path / "scored"
    result = CliRunner().invoke(app, ["score", str(_file(tmp_path)), "--out", str(out)])
    assert result.exit_code == 0
    assert "CT" in result.stdout
    assert json.loads((out / "scored.jsonl").read_text())["id"] == "é"
    assert json.loads((out / "summary.json").read_text())["n"] == 1


def test_an_existing_directory_is_not_written_into(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["score", str(_file(tmp_path)), "--out", str(tmp_path)])
    assert isinstance(result.exception, RunError)


def test_a_damaged_file_writes_nothing(tmp_path: Path) -> None:
    path = _file(tmp_path)
    path.write_text(path.read_text() + "{\n")
    result = CliRunner().invoke(app, ["score", str(path), "--out", str(tmp_path / "scored")])
    assert isinstance(result.exception, DataError)
    assert not (tmp_path / "scored").exists()


@pytest.mark.parametrize("example", [line for line in app.registered_commands if line.name == "score"])
def test_the_examples_in_the_help_can_be_scored(tmp_path: Path, example: object) -> None:
    help_text = getattr(example, "callback").__doc__  # noqa: B009  typer leaves the callback untyped
    lines = [line.strip() for line in help_text.splitlines() if line.strip().startswith("{")]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(lines) + "\n")
    result = CliRunner().invoke(app, ["score", str(path), "--json"])
    assert json.loads(result.stdout)["outcomes"] == {"correct": 2, "incorrect": 0, "unread": 0}
