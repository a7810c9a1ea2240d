"""A full disk ends a command with three lines, and the same command works once there is space."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lowmed.engine import checkpoints
from lowmed.errors import SetupError
from lowmed.files import disk_errors, new_folder, write_text
from lowmed.run import Run


def limited(folder: Path, size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process whose files cannot grow beyond a size, as on a full disk."""
    return subprocess.run(
        [sys.executable, "-m", "lowmed", *arguments],
        cwd=folder,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # Python would keep half a compiled module
        capture_output=True,
        text=True,
        check=False,
    )


def score(folder: Path) -> list[str]:
    row = {"question": "Is it?", "answer": "yes", "completion": "<answer>Yes.</answer>"}
    rows = [json.dumps({"id": str(number), **row}) for number in range(50)]
    (folder / "predictions.jsonl").write_text("\n".join(rows))
    return ["score", "predictions.jsonl", "--out", "out"]


def prepare(_folder: Path) -> list[str]:
    source = Path(__file__).parent / "fixtures" / "vqa-rad"
    return ["data", "prepare", str(source), "--images", str(source / "images"), "--out", "out"]


@pytest.mark.parametrize("command", [score, prepare])
@pytest.mark.parametrize("size", [100, 3000])
def test_a_command_that_could_not_write_can_be_repeated(
    command: Callable[[Path], list[str]], size: int, tmp_path: Path
) -> None:
    arguments = command(tmp_path)
    failed = limited(tmp_path, size, *arguments)
    assert failed.returncode == 2, failed.stderr
    assert "Traceback" not in failed.stderr
    assert "\n  where  out\n  fix    " in failed.stderr
    assert not (tmp_path / "out").exists()
    repeated = limited(tmp_path, 2**30, *arguments)
    assert repeated.returncode == 0, repeated.stderr
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lowmed"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 572544 vs 572432"),
        RuntimeError("PytorchStreamWriter failed writing file data/0"),
        OSError("98304 requested and 86016 written"),
    ],
    ids=str,
)
def test_every_error_of_a_full_disk_is_recognized(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="the disk is full"), disk_errors(tmp_path):
        raise error


def test_a_new_folder_is_complete_or_absent(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with pytest.raises(SetupError) as raised, new_folder(out) as aside:
        write_text(aside / "one", "1")
        raise SetupError("x", str(aside / "two"), "")
    assert raised.value.where == str(out)
    assert list((tmp_path / "a").iterdir()) == []
    with new_folder(out) as aside:
        write_text(aside / "one", "1")
    assert [path.name for path in out.iterdir()] == ["one"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_unfinished_checkpoints_give_their_space_back(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step, name in ((2, "complete.json"), (4, "optimizer.pt")):
        (run.checkpoints / f"checkpoint-{step}").mkdir(parents=True)
        (run.checkpoints / f"checkpoint-{step}" / name).write_text("{}")
    (run.checkpoints / "checkpoint-6").symlink_to(tmp_path)
    checkpoints.remove_unfinished(run)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["checkpoint-2", "checkpoint-6"]


@pytest.mark.slow
def test_a_merge_and_an_export_that_could_not_write_can_be_repeated(tmp_path: Path) -> None:
    from ship import finished

    import lowmed

    run = finished.run(tmp_path / "run")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    commands: tuple[Callable[[], Any], ...] = (
        lambda: lowmed.merge(run, tmp_path / "merged", questions=0),
        lambda: lowmed.export(tmp_path / "merged", "gguf", tmp_path / "gguf"),
    )
    for command, out in zip(commands, ("merged", "gguf"), strict=True):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
        try:
            with pytest.raises(SetupError, match=r"the disk is full|too large for this disk") as raised:
                command()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert out in raised.value.where
        assert not (tmp_path / out).exists()
        assert command().passed
        assert (tmp_path / out / "lowmed.json").is_file()
    assert not list(tmp_path.glob(".*"))
