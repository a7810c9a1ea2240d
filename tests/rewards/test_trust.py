"""Files with rewards run only after the user has approved their content on this machine."""

import json
import os
import pty
import py_compile
import stat
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from conftest import Lowmed
from typer.testing import CliRunner

import lowmed
from lowmed.cli import app
from lowmed.errors import LowmedError, RecipeError
from lowmed.files import config_folder
from lowmed.recipe.io import load_recipe
from lowmed.rewards import build
from lowmed.rewards.trust import FILE
from lowmed.run import create_run
from lowmed.sample import Sample

SAMPLE = Sample(id="1", question="Which side?", answer="left", kind="open", group="1", source="made")
CODE = """from pathlib import Path
Path(__file__).with_name("executed").touch()
from lowmed.rewards import Score
def side(sample, completion):
    return Score(1.0, "always")
"""


@pytest.fixture(autouse=True)
def _no_file_is_approved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def planted(folder: Path, code: str = CODE) -> Path:
    file = folder / "mine.py"
    file.write_text(code)
    return file


def received_run(folder: Path) -> Path:
    """A run of somebody else, stopped, whose recipe names the planted file."""
    recipe = load_recipe("rarl", ["method.rewards=[{name: mine.py:side}]", "method.max_steps=2"], nano=True)
    run = create_run(recipe, "received", out=str(folder / "run"))
    run.update(status="stopped")
    return run.folder


RECIPE = ("--recipe", "rarl", "--nano", "method.rewards=[{name: mine.py:side}]")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", *RECIPE),
        ("rewards", "check", *RECIPE),
        ("grpo", *RECIPE),
        ("grpo", "--out", "run", "--resume", "auto", *RECIPE, "method.max_steps=2"),
        ("grpo", "--resume", "run"),
        ("grpo", "--resume", "run", "method.max_steps=4", "--out", "longer"),
        ("bridge", "--recipe", "medbridge", "--nano", "method.rewards=[{name: mine.py:side}]"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_an_unapproved_file_stops_before_it_is_executed(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    planted(tmp_path)
    received_run(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, RecipeError), result.output
    assert "mine.py is Python code that has not been approved on this machine" in result.exception.what
    assert result.exception.fix.endswith("lowmed rewards trust mine.py")
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "lock") == before
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", *RECIPE),
        ("rewards", "list"),
        ("rewards", "show", "accuracy"),
        ("rewards", "show", "mine.py:side"),
        ("rewards", "trust", "mine.py"),
        ("recipes", "show", "run/recipe.yaml"),
        ("recipes", "show", "mine.py:side"),
        ("runs", "list", "."),
        ("runs", "show", "run"),
        ("runs", "compare", "run", "run"),
        ("report", "run"),
        ("eval", "run"),
        ("eval", "mine.py"),
        ("probe", "run"),
        ("merge", "run", "--out", "merged"),
        ("bridge", "--resume", "run"),
        ("sft", *RECIPE),
        ("sft", "--recipe", "rarl-sft", "--nano", "method.rewards=[{name: mine.py:side}]"),
        ("check", *RECIPE, "lora.rnak=2"),
        ("data", "prepare", "mine.py", "--out", "data"),
        ("data", "audit", "run"),
        ("score", "mine.py"),
        ("ask", "run", "--question", "Which side?"),
    ],
    ids=" ".join,
)
def test_no_other_command_executes_a_file(arguments: tuple[str, ...], tmp_path: Path) -> None:
    planted(tmp_path)
    received_run(tmp_path)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, LowmedError | SystemExit), result.exception
    assert not (tmp_path / "executed").exists()


def test_an_approved_file_runs_until_its_content_changes(tmp_path: Path, lowmed: Lowmed) -> None:
    file = planted(tmp_path)
    refused = lowmed("check", *RECIPE)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 3
    assert not (tmp_path / "executed").exists()
    assert lowmed("rewards", "trust", "mine.py", "--yes").returncode == 0
    lowmed("check", *RECIPE)
    assert (tmp_path / "executed").exists()
    (tmp_path / "executed").unlink()
    file.write_text(CODE + "\n")
    changed = lowmed("check", *RECIPE)
    assert changed.returncode == 2
    assert "has changed since it was approved" in changed.stderr
    assert not (tmp_path / "executed").exists()


def test_the_approval_is_of_the_content_and_private(tmp_path: Path) -> None:
    file = planted(tmp_path)
    os.umask(os.umask(0))  # the mode must not depend on it
    digest = lowmed.trust_reward(file)
    assert lowmed.trust_reward(file) == digest
    store = config_folder() / FILE
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    [line] = store.read_text().splitlines()
    assert (json.loads(line)["sha256"], json.loads(line)["path"]) == (digest, str(file))
    (tmp_path / "elsewhere").mkdir()
    file.rename(tmp_path / "elsewhere/other.py")
    [reward] = build([("elsewhere/other.py:side", 1.0, {})])
    assert reward(SAMPLE, "").value == 1.0


def test_a_damaged_list_of_approvals_approves_nothing_more(tmp_path: Path) -> None:
    lowmed.trust_reward(planted(tmp_path))
    store = config_folder() / FILE
    store.write_bytes(b'[1]\n"x"\n{"sha256": 1}\n\xff\n' + store.read_bytes() + b'{"sha2')
    assert build([("mine.py:side", 1.0, {})])
    planted(tmp_path, CODE + "# changed\n")
    with pytest.raises(RecipeError, match="has changed since"):
        build([("mine.py:side", 1.0, {})])


def test_a_planted_compiled_copy_is_not_executed(tmp_path: Path) -> None:
    file = planted(tmp_path, CODE.replace("executed", "evil"))
    compiled = Path(cache_from_source(str(file)))
    py_compile.compile(
        str(file), cfile=str(compiled), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    lowmed.trust_reward(planted(tmp_path))
    build([("mine.py:side", 1.0, {})])
    assert (tmp_path / "executed").exists()
    assert not (tmp_path / "evil").exists()


def test_all_files_are_compared_before_one_is_executed(tmp_path: Path) -> None:
    lowmed.trust_reward(planted(tmp_path))
    (tmp_path / "other.py").write_text("raise SystemExit('executed')")
    with pytest.raises(RecipeError, match=r"other\.py is Python code"):
        build([("mine.py:side", 1.0, {}), ("other.py:side", 1.0, {})])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["x.py:mine.pyc:side", "x.py:mine:side", ".py:side", "x.py:/dev/zero:side"])
def test_a_name_that_hides_another_kind_of_file_is_refused(name: str, tmp_path: Path) -> None:
    for hidden in ("x.py:mine.pyc", "x.py:mine"):
        (tmp_path / hidden).write_text(CODE)
    with pytest.raises(RecipeError, match=r"is not a Python file|there is no file"):
        build([(name, 1.0, {})])


def test_a_file_of_unusual_size_is_refused(tmp_path: Path) -> None:
    planted(tmp_path, "#" * 1_000_001)
    with pytest.raises(RecipeError, match="more than 1,000,000 bytes"):
        lowmed.trust_reward("mine.py")


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 130)])
def test_the_command_shows_the_file_and_asks_once(tmp_path: Path, answer: str, status: int) -> None:
    planted(tmp_path)
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "lowmed", "rewards", "trust", "mine.py"]
    os.write(parent, f"{answer}\n".encode())
    result = subprocess.run(command, stdin=child, capture_output=True, text=True, check=False)
    os.close(parent)
    os.close(child)
    assert result.returncode == status
    assert f"file    {tmp_path}/mine.py\nsize    {len(CODE)} bytes\nSHA-256 " in result.stderr
    assert (config_folder() / FILE).exists() == (answer == "y")


def test_without_a_terminal_nothing_is_approved(tmp_path: Path, lowmed: Lowmed) -> None:
    planted(tmp_path)
    result = lowmed("rewards", "trust", "mine.py")
    assert result.returncode == 2
    assert "add --yes" in result.stderr
    assert not (config_folder() / FILE).exists()
