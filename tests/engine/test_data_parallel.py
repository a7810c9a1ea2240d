"""Several processes end with the weights, completions and metrics of one."""

import json
import os
import signal
from pathlib import Path

import pytest
from commands import Commands
from several_processes import assert_same, ended, in_one, in_processes, started, wait_for

GRPO = (
    "grpo", "--recipe", "rarl", "--nano", "method.max_steps=2", "method.prompts_per_step=4",
    "method.num_generations=4", "method.max_completion_length=40", "method.save_steps=1",
    "method.per_device_train_batch_size=4",
)  # fmt: skip
SFT = (
    "sft", "--recipe", "rarl-sft", "--nano", "method.max_steps=3", "method.save_steps=1",
    "method.per_device_train_batch_size=4",
)  # fmt: skip


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

    evaluation = ("eval", "one", "--questions", "6", "--controls", "2")
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
def test_a_killed_process_ends_the_others_of_its_launcher(commands: Commands, tmp_path: Path) -> None:
    launcher = commands.start(tmp_path, *SFT, "method.max_steps=200", "--processes", "2", "--out", "r")
    wait_for(tmp_path / "r", "metrics.jsonl", launcher)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    _out, errors = launcher.communicate()
    assert launcher.wait() == 1
    assert "error: another process of this run ended" in errors
    assert "process 2 of 2 was ended by SIGKILL" in errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "failed"
