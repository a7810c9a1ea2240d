"""Several processes end with the weights, completions and metrics of one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Commands, Started
from safetensors.torch import load_file

GRPO = (
    "grpo", "--recipe", "rarl", "--nano", "method.max_steps=2", "method.prompts_per_step=4",
    "method.num_generations=4", "method.max_completion_length=40", "method.save_steps=1",
    "method.per_device_train_batch_size=4",
)  # fmt: skip
SFT = (
    "sft", "--recipe", "rarl-sft", "--nano", "method.max_steps=3", "method.save_steps=1",
    "method.per_device_train_batch_size=4",
)  # fmt: skip


def started(commands: Commands, folder: Path, *arguments: str, count: int = 2) -> list[Started]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    return [commands.start(folder, *arguments, **shared, **rank) for rank in ranks]


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (2, ()),
        # Fewer prompts than processes. The policy changes between two steps on the same completions, and groups that
        # earned the same are replaced.
        (2, ("method.prompts_per_step=1", "method.num_generations=8", "method.loss_type=dapo", "method.beta=0.04",
             "method.num_iterations=2", "method.dynamic_sampling=2", "method.baseline=leave_one_out",
             "method.scale_rewards=none")),
    ],
    ids=["rarl", "dapo"],
)  # fmt: skip
def test_grpo_ends_with_the_adapter_of_one_process(
    commands: Commands, tmp_path: Path, count: int, changes: tuple[str, ...]
) -> None:
    in_one(commands, tmp_path, *GRPO, *changes, "--out", "one")
    in_processes(commands, tmp_path, *GRPO, *changes, "--out", "several", count=count)
    assert_same(tmp_path / "one", tmp_path / "several")
    assert json.loads((tmp_path / "several" / "run.json").read_text())["processes"] == count


@pytest.mark.slow
def test_sft_ends_with_the_adapter_of_one_process_after_a_kill_and_with_another_number(
    commands: Commands, tmp_path: Path
) -> None:
    in_one(commands, tmp_path, *SFT, "--out", "one")
    running = started(commands, tmp_path, *SFT, "--out", "two")
    wait_for(tmp_path / "two", "checkpoints/*/complete.json", running[0])
    for process in running:
        process.send_signal(signal.SIGKILL)
    ended(running)
    in_one(commands, tmp_path, "sft", "--resume", "two")
    assert_same(tmp_path / "one", tmp_path / "two")
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert record["processes"] == 1
    assert [number for _step, number in record["earlier_processes"]] == [2]

    evaluation = ("eval", "one", "--questions", "12", "--controls", "4")
    in_one(commands, tmp_path, *evaluation, "--out", "by-one")
    in_processes(commands, tmp_path, *evaluation, "--out", "by-two")
    for file in (tmp_path / "by-one").glob("tuned*.jsonl"):
        other = tmp_path / "by-two" / file.name
        assert sorted(other.read_text().splitlines()) == sorted(file.read_text().splitlines()), file.name


def test_a_step_that_cannot_be_shared_is_refused_in_every_process(commands: Commands, tmp_path: Path) -> None:
    results = ended(
        started(
            commands, tmp_path, *SFT, "method.prompts_per_step=15", "method.per_device_train_batch_size=5", "--out", "r"
        )
    )
    for code, errors in results:
        assert code == 2
        assert "2 processes cannot share the 15 rows of a step equally" in errors
    assert "use one of 1, 3, 5, 15 processes" in results[0][1]
    assert not (tmp_path / "r").exists()


def test_other_commands_ignore_the_variables_of_a_launcher_or_refuse_it(commands: Commands, tmp_path: Path) -> None:
    variables = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    listed = commands.start(tmp_path, "recipes", "list", **variables)
    assert "rarl" in listed.communicate()[0]
    for command in (["bridge", "--recipe", "medbridge", "--nano"], ["study", "missing.yaml", "--out", "s"]):
        refused = commands.start(tmp_path, *command, **variables)
        assert "runs in a single process" in refused.communicate()[1]
        assert refused.wait() == 2


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(commands: Commands, tmp_path: Path) -> None:
    running = started(commands, tmp_path, *SFT, "method.max_steps=200", "--out", "r")
    wait_for(tmp_path / "r", "metrics.jsonl", running[0])
    running[1].send_signal(signal.SIGTERM)
    assert [code for code, _ in ended(running)] == [130, 130]
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert (record["status"], record["reason"]) == ("stopped", "SIGTERM")
    assert (tmp_path / "r" / "checkpoints" / f"checkpoint-{record['steps']}" / "complete.json").is_file()


@pytest.mark.slow
def test_a_killed_process_ends_the_others_of_its_launcher(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lowmed", *SFT, "method.max_steps=200", "--processes", "2", "--out", "r"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as launcher:
        wait_for(tmp_path / "r", "metrics.jsonl", launcher)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGKILL)
        _out, errors = launcher.communicate()
    assert launcher.returncode == 1
    assert "error: another process of this run ended" in errors
    assert "process 2 of 2 was ended by SIGKILL" in errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "failed"
