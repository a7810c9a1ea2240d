"""A killed run resumes to the same result as an uninterrupted one."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commands import Commands, Started
from conftest import Lowmed, Start

pytestmark = pytest.mark.slow
SMALL = {
    "grpo": [
        "--recipe",
        "rarl",
        "method.num_generations=4",
        "method.prompts_per_step=2",
        "method.max_completion_length=48",
    ],
    "several steps on a batch, with a KL term": [
        *(
            "--recipe",
            "rarl",
            "method.num_generations=4",
            "method.prompts_per_step=2",
            "method.max_completion_length=48",
        ),
        *("method.num_iterations=2", "method.save_steps=1"),  # only every second checkpoint is written
        *(
            "method.beta=0.1",
            "method.gradient_checkpointing=true",
        ),  # TRL keeps a copy of the starting adapter
    ],
    "replaced groups and references": [
        *("--recipe", "rarl", "method.num_generations=2", "method.prompts_per_step=3"),
        *("method.max_completion_length=48", "method.dynamic_sampling=2", "method.mix.kind=luffy", "method.top_p=0.98"),
        "method.rewards=[{name: accuracy}, {name: majority}, {name: image_dependence, weight: 0.5}]",
    ],
    "sft": ["--recipe", "rarl-sft", "method.prompts_per_step=4"],
}
SHORT = ["--nano", "method.max_steps=4", "method.save_steps=2"]
LONGER = ["--nano", "method.max_steps=40", "method.save_steps=20"]


def stop_after(process: Started | subprocess.Popen[bytes], run: Path, steps: int, number: signal.Signals) -> None:
    """Send the signal as soon as that many steps are recorded."""
    metrics = run / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) >= steps:
            process.send_signal(number)
            process.wait()
            return
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"the run ended without the signal, with {process.returncode}")


def adapter(run: Path) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


# The plain "grpo" is killed in test_kill_everywhere.py.
@pytest.mark.parametrize("case", [case for case in SMALL if case != "grpo"])
def test_a_run_killed_in_the_middle_resumes_to_the_same_adapter(
    case: str, tmp_path: Path, lowmed: Lowmed, start: Start, reseeded: Lowmed
) -> None:
    kind = "sft" if case == "sft" else "grpo"
    uninterrupted = lowmed(kind, *SHORT, *SMALL[case], "--out", "uninterrupted")
    assert uninterrupted.returncode == 0, uninterrupted.stderr

    process = start(kind, *SHORT, *SMALL[case], "--out", "killed")
    stop_after(process, tmp_path / "killed", 3, signal.SIGKILL)
    record = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert record["status"] == "running"  # the process had no time to change it
    assert not (tmp_path / "killed" / "adapter").exists()

    resumed = reseeded(kind, "--resume", "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert adapter(tmp_path / "killed") == adapter(tmp_path / "uninterrupted")
    for name in ("metrics.jsonl", *(["rollouts.jsonl"] if kind == "grpo" else [])):
        resumed_rows = [json.loads(line) for line in (tmp_path / "killed" / name).read_text().splitlines()]
        all_rows = [json.loads(line) for line in (tmp_path / "uninterrupted" / name).read_text().splitlines()]
        for row in (*resumed_rows, *all_rows):
            row.pop("seconds", None)
        assert resumed_rows == all_rows


def test_ctrl_c_sigterm_and_a_time_limit_stop_with_a_checkpoint(tmp_path: Path, lowmed: Lowmed, start: Start) -> None:
    process = start("sft", *SMALL["sft"], *LONGER, "--out", "run")
    stop_after(process, tmp_path / "run", 1, signal.SIGINT)
    assert process.returncode == 130
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "stopped"
    assert record["reason"] == "SIGINT"
    step = record["steps"]
    assert (tmp_path / "run" / "checkpoints" / f"checkpoint-{step}" / "complete.json").exists()

    process = start("sft", "--resume", "run")
    while json.loads((tmp_path / "run" / "run.json").read_text())["status"] != "running":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)  # before the first step
    assert process.wait() == 130
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["reason"], record["steps"]) == ("stopped", "SIGINT", step)

    process = start("sft", "--resume", "run")
    stop_after(process, tmp_path / "run", step + 1, signal.SIGTERM)
    assert process.returncode == 130
    assert json.loads((tmp_path / "run" / "run.json").read_text())["reason"] == "SIGTERM"

    timed = lowmed("sft", "--resume", "run", "--max-minutes", "0.01")
    assert timed.returncode == 0, timed.stderr
    assert "stopped (time)" in timed.stderr
    finished = lowmed("sft", "--resume", "run")
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    repeated = lowmed("sft", "--resume", "run")
    assert repeated.returncode == 2
    assert "the run is finished" in repeated.stderr


def test_a_lost_terminal_stops_the_run_with_a_checkpoint(tmp_path: Path, commands: Commands) -> None:
    terminal, inside = pty.openpty()
    # More steps than it needs, so that it still runs when the signal comes on a busy machine.
    command = [
        str(commands.python),
        "-m",
        "lowmed",
        "sft",
        *SMALL["sft"],
        *LONGER,
        "method.max_steps=2000",
        "--out",
        "run",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    reader = threading.Thread(target=_read_all, args=(terminal,), daemon=True)
    reader.start()
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert process.poll() is None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)
    process.send_signal(signal.SIGHUP)
    os.close(terminal)  # from here on every write to the terminal fails
    process.wait(timeout=120)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["reason"]) == ("stopped", "SIGHUP")
    assert (tmp_path / "run" / "checkpoints" / f"checkpoint-{record['steps']}" / "complete.json").exists()


def _read_all(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_a_run_under_nohup_survives_the_terminal(tmp_path: Path) -> None:
    command = ["nohup", sys.executable, "-m", "lowmed", "sft", *SMALL["sft"], *SHORT, "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stop_after(process, tmp_path / "run", 1, signal.SIGHUP)
    assert process.returncode == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
