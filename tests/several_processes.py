"""Commands in several processes, and whether their run is that of one process."""

import contextlib
import json
import socket
import subprocess
from pathlib import Path

import pytest
from commands import Commands, Started
from safetensors.torch import load_file


def started(
    commands: Commands, folder: Path, *arguments: str, count: int = 2, code: str | None = None
) -> list[Started]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    return [commands.start(folder, *arguments, code=code, **shared, **rank) for rank in ranks]


def ended(running: list[Started]) -> list[tuple[int, str]]:
    results = []
    for process in running:
        _out, errors = process.communicate()
        results.append((process.wait(), errors))
    return results


def in_processes(commands: Commands, folder: Path, *arguments: str, count: int = 2) -> list[str]:
    results = ended(started(commands, folder, *arguments, count=count))
    assert all(code == 0 for code, _ in results), results
    return [errors for _, errors in results]


def in_one(commands: Commands, folder: Path, *arguments: str) -> None:
    assert commands.start(folder, *arguments).wait() == 0


def lines(run: Path, name: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return rows


def assert_same(one: Path, several: Path) -> None:
    """Completions and scores are equal, metrics within rounding. Adam enlarges rounding where a gradient is near 0."""
    first, second = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (one, several))
    assert first.keys() == second.keys()
    trained = [name for name in first if "lora_B" in name]
    difference = sum(float((first[name] - second[name]).pow(2).sum()) for name in trained)
    assert difference <= 1e-4 * sum(float(first[name].pow(2).sum()) for name in trained)
    if (one / "rollouts.jsonl").exists():
        assert lines(several, "rollouts.jsonl") == lines(one, "rollouts.jsonl")
    for row, other in zip(lines(one, "metrics.jsonl"), lines(several, "metrics.jsonl"), strict=True):
        for name in row.keys() - {"seconds", "logp_difference", "logp_difference_max"}:
            assert other[name] == pytest.approx(row[name], rel=1e-4, abs=1e-6), name


def wait_for(run: Path, pattern: str, process: "Started | subprocess.Popen[str]") -> None:
    """Wait for a file of the run, without taking time from the processes that write it."""
    while not list(run.glob(pattern)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"ended with {process.wait(timeout=0.02)}")
