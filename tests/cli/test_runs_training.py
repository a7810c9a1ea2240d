"""Runs that really train: the lock of a training process, and what is left of a run whose checkpoints were removed."""

import contextlib
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Started
from conftest import Lowmed, Start

pytestmark = pytest.mark.slow
RECIPE = ("sft", "--recipe", "rarl-sft", "--nano", "data.max_train_questions=16", "method.prompts_per_step=2")
START = (*RECIPE, "method.max_steps=14", "method.save_steps=2", "--out", "runs/a")


@contextlib.contextmanager
def training(start: Start, folder: Path, steps: int, *arguments: str) -> Iterator[Started]:
    """A training process, paused as soon as that many steps are recorded."""
    metrics = folder / "runs/a/metrics.jsonl"
    process = start(*arguments)
    try:
        while not metrics.exists() or len(metrics.read_text().splitlines()) < steps:
            assert process.poll() is None, process.communicate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.02)
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.send_signal(signal.SIGKILL)


def listed(lowmed: Lowmed) -> dict[str, Any]:
    [row] = json.loads(lowmed("runs", "list", "--json").stdout)["runs"]
    return dict(row)


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_running_run_is_neither_resumed_nor_removed_and_a_killed_one_is_resumed(
    tmp_path: Path, lowmed: Lowmed, start: Start, reseeded: Lowmed
) -> None:
    run = tmp_path / "runs/a"
    with training(start, tmp_path, 3, *START) as first:
        before = everything(run)
        row = listed(lowmed)
        assert row["status"] == "running"
        assert row["reason"].startswith(f"process {first.pid}, since")
        for command in (("sft", "--resume", "runs/a"), ("sft", "--resume", "auto"), (*START, "--resume", "auto")):
            second = lowmed(*command)
            assert second.returncode == 2
            what, where, holder, fix = second.stderr.splitlines()
            assert what == "error: another process is using this run"
            assert where == "  where  runs/a"
            assert holder.strip().startswith(f"process {first.pid}, since")
            assert fix.startswith("  fix    wait until it ends, or stop it")
        for removal in (
            ("rm", "runs/a", "--yes", "--force"),
            ("prune", "runs/a", "--yes"),
            ("prune", "--all", "--yes"),
        ):
            lowmed("runs", *removal)
        assert everything(run) == before
        shutil.copytree(run, tmp_path / "copy")
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert json.loads((run / "run.json").read_text())["status"] == "running"  # it had no time to change it
    row = listed(lowmed)
    assert row["status"] == "interrupted"
    assert row["steps"] >= 3

    with training(start, tmp_path, row["steps"] + 1, "sft", "--resume", "runs/a") as resumed:
        second = lowmed("sft", "--resume", "runs/a")
        assert f"process {resumed.pid}, since" in second.stderr
        resumed.send_signal(signal.SIGCONT)
        _, errors = resumed.communicate()
        assert resumed.returncode == 0, errors
    row = listed(lowmed)
    assert (row["status"], row["steps"], row["max_steps"]) == ("finished", 14, 14)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 14
    assert (run / "lock").read_bytes() == b""

    copied = reseeded("sft", "--resume", "copy")  # of the running run, as to another machine
    assert copied.returncode == 0, copied.stderr
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "copy" / weights).read_bytes() == (run / weights).read_bytes()


def test_a_run_without_its_checkpoints_is_evaluated_and_merged(tmp_path: Path, lowmed: Lowmed) -> None:
    trained = lowmed(*RECIPE, "method.max_steps=2", "method.save_steps=1", "--out", "runs/a")
    assert trained.returncode == 0, trained.stderr
    adapter = everything(tmp_path / "runs/a/adapter")
    pruned = lowmed("runs", "prune", "--all", "--yes")
    assert pruned.returncode == 0, pruned.stderr
    assert not (tmp_path / "runs/a/checkpoints").exists()
    assert everything(tmp_path / "runs/a/adapter") == adapter
    done = lowmed("eval", "runs/a", "--questions", "2", "--controls", "0")
    assert done.returncode == 0, done.stderr
    merged = lowmed("merge", "runs/a", "--out", "merged", "--questions", "2")
    assert merged.returncode == 0, merged.stderr
    again = lowmed("sft", "--resume", "runs/a")
    assert "the run is finished" in again.stderr
    assert listed(lowmed)["accuracy"]["questions"] == 2
