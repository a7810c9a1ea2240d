"""`lowmed demo` on folders that hold something else."""

from pathlib import Path

from conftest import Lowmed


def test_a_demo_evaluates_no_other_run(lowmed: Lowmed, tmp_path: Path) -> None:
    trained = lowmed("sft", "--recipe", "rarl-sft", "--nano", "method.max_steps=1", "--out", "runs/other")
    assert trained.returncode == 0, trained.stderr
    result = lowmed("demo", "--out", "runs/other")
    assert result.returncode == 2
    assert "the folder holds another run than a demo" in result.stderr
    assert not (tmp_path / "runs/other/evals").exists()


def test_a_demo_replaces_no_folder(lowmed: Lowmed, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    result = lowmed("demo", "--out", "notes")
    assert result.returncode == 2, result.stderr
    assert sorted(path.name for path in (tmp_path / "notes").iterdir()) == ["a.txt"]
