"""A killed run goes on to the same result as an unbroken one."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Lowmed

pytestmark = pytest.mark.slow
SMALL = {
    "grpo": [
        "--recipe",
        "rarl",
        "method.num_generations=4",
        "method.prompts_per_step=2",
        "method.max_completion_length=48",
    ],
    "reused replies, drawn to the start": [
        *(
            "--recipe",
            "rarl",
            "method.num_generations=4",
            "method.prompts_per_step=2",
            "method.max_completion_length=48",
        ),
        *("method.num_iterations=2", "method.save_steps=1"),  # of which every second one is written
        *(
            "method.beta=0.1",
            "method.gradient_checkpointing=true",
        ),  # the adapter that the run began with stands beside its own
    ],
    "sft": ["--recipe", "rarl-sft", "method.prompts_per_step=4"],
}
SHORT = ["--nano", "method.max_steps=6", "method.save_steps=2"]
LONGER = ["--nano", "method.max_steps=40", "method.save_steps=20"]


def start(kind: str, *arguments: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lowmed", kind, *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stop_after(process: subprocess.Popen[bytes], run: Path, updates: int, number: signal.Signals) -> None:
    """Send the signal as soon as so many updates are recorded."""
    metrics = run / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) >= updates:
            process.send_signal(number)
            process.wait()
            return
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"the run ended by itself with {process.returncode}")


def adapter(run: Path) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("what", ["grpo", "reused replies, drawn to the start", "sft"])
def test_a_run_killed_in_the_middle_resumes_to_the_same_adapter(what: str, tmp_path: Path, lowmed: Lowmed) -> None:
    kind = "sft" if what == "sft" else "grpo"
    unbroken = lowmed(kind, *SHORT, *SMALL[what], "--out", "unbroken")
    assert unbroken.returncode == 0, unbroken.stderr

    process = start(kind, *SHORT, *SMALL[what], "--out", "killed", folder=tmp_path)
    stop_after(process, tmp_path / "killed", 3, signal.SIGKILL)
    record = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert record["status"] == "running"  # nobody had time to write otherwise
    assert not (tmp_path / "killed" / "adapter").exists()

    resumed = lowmed(kind, "--resume", "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert adapter(tmp_path / "killed") == adapter(tmp_path / "unbroken")
    for name in ("metrics.jsonl", *(["rollouts.jsonl"] if kind == "grpo" else [])):
        kept = [json.loads(line) for line in (tmp_path / "killed" / name).read_text().splitlines()]
        whole = [json.loads(line) for line in (tmp_path / "unbroken" / name).read_text().splitlines()]
        for row in (*kept, *whole):
            row.pop("seconds", None)
        assert kept == whole


def test_ctrl_c_and_sigterm_stop_with_a_checkpoint_and_a_clock_stops_in_time(tmp_path: Path, lowmed: Lowmed) -> None:
    process = start("sft", *SMALL["sft"], *LONGER, "--out", "run", folder=tmp_path)
    stop_after(process, tmp_path / "run", 1, signal.SIGINT)
    assert process.returncode == 130
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "stopped"
    assert record["reason"] == "SIGINT"
    reached = record["steps"]
    assert (tmp_path / "run" / "checkpoints" / f"checkpoint-{reached}" / "complete.json").exists()

    process = start("sft", "--resume", "run", folder=tmp_path)
    stop_after(process, tmp_path / "run", reached + 1, signal.SIGTERM)
    assert process.returncode == 130
    assert json.loads((tmp_path / "run" / "run.json").read_text())["reason"] == "SIGTERM"

    timed = lowmed("sft", "--resume", "run", "--max-minutes", "0.01")
    assert timed.returncode == 0, timed.stderr
    assert "stopped (time)" in timed.stderr
    finished = lowmed("sft", "--resume", "run")
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    again = lowmed("sft", "--resume", "run")
    assert again.returncode == 2
    assert "the run is finished" in again.stderr
