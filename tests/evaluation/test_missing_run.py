"""A path that does not exist is reported as such, and never treated as a hub id."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.errors import RunError
from lowmed.evaluation.target import require_model


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "runs/none"],
        ["eval", "runs/none", "--on", "phantom"],
        ["eval", "runs/none", "--endpoint", "http://127.0.0.1:9/v1", "--model", "m"],
        ["probe", "runs/none", "--on", "phantom"],
        ["report", "runs/none"],
        ["compare", "runs/none", "runs/none"],
    ],
    ids=" ".join,
)
def test_every_command_reports_a_missing_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, RunError)
    assert (error.what, error.where) == ("the run does not exist", "runs/none")


@pytest.mark.parametrize("target", ["./none", "../none", "/none", "~/none", "runs/none", "here/none"])
def test_a_missing_path_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    with pytest.raises(RunError, match="the run does not exist"):
        require_model(target)


@pytest.mark.parametrize("target", ["nano", "Qwen/Qwen2-VL-2B-Instruct", "here/there", "."])
def test_a_hub_id_or_a_folder_with_a_model_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here/there").mkdir(parents=True)
    Path("here/there/config.json").touch()
    Path("adapter_config.json").touch()
    require_model(target)


@pytest.mark.parametrize("target", ["file", "empty"])
def test_a_file_or_a_folder_without_a_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("empty").mkdir()
    with pytest.raises(RunError, match="this is not a run or a model"):
        require_model(target)
