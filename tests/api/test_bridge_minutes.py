"""A bridge stops at its time limit and resumes in any stage."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lowmed.api.bridge import Clock, StoppedError
from lowmed.evaluation import results_folder
from lowmed.progress import silent


def test_minutes_left_are_counted_from_the_start() -> None:
    assert Clock(time.monotonic(), None).minutes_left() is None
    left = Clock(time.monotonic(), 10).minutes_left()
    assert left is not None
    assert 9 < left <= 10
    with pytest.raises(StoppedError, match="time"):
        Clock(time.monotonic() - 61, 1).minutes_left()


def test_a_probe_out_of_time_ends_after_the_stored_completion_unless_it_was_the_last() -> None:
    limited = Clock(time.monotonic() - 61, 1).limited(silent)
    with limited("probe", 2) as advance:
        with pytest.raises(StoppedError):
            advance(1, "")
        advance(2, "")


@pytest.mark.slow
def test_a_bridge_out_of_time_is_resumed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lowmed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = [
        "--recipe", "medbridge", "--nano", "bridge.questions=6", "bridge.samples=2", "bridge.rounds=1",
        "bridge.sft.max_steps=1", "bridge.sft.prompts_per_step=2", "method.max_steps=1", "method.num_generations=4",
        "method.prompts_per_step=2", "method.max_completion_length=24", "eval.max_new_tokens=24",
        "method.rewards=[{name: accuracy}, {name: format}]",
    ]  # fmt: skip
    stopped = lowmed("bridge", *tiny, "--out", "b", "--max-minutes", "0")
    assert stopped.returncode == 0, stopped.stderr
    assert "stopped (time); nothing is lost" in stopped.stderr
    assert "next    lowmed bridge --resume b" in stopped.stderr
    assert json.loads(Path("b/bridge.json").read_text())["status"] == "running"
    stored = results_folder.read_rows(Path("b/1-probe/base.jsonl"))
    assert len(stored) == 1
    done = lowmed("bridge", "--resume", "b", "--max-minutes", "60")
    assert done.returncode in (0, 1), done.stderr  # depends on a few completions of nano; finished in either case
    completions = results_folder.read_rows(Path("b/1-probe/base.jsonl"))
    assert completions[0] == stored[0]
    assert len({completion["id"] for completion in completions}) == len(completions) == 6  # none is generated twice
    assert json.loads(Path("b/bridge.json").read_text())["status"] in ("finished", "refused")
