"""`--resume auto`: the same command starts a run, resumes it, or reports that it is finished."""

import json
from pathlib import Path

from conftest import Lowmed

START = ("--recipe", "rarl-sft", "--nano", "--out", "run", "data.max_train_questions=16", "method.save_steps=1")


def test_the_same_command_starts_resumes_and_reports_a_finished_run(lowmed: Lowmed, tmp_path: Path) -> None:
    command = ("sft", *START, "method.max_steps=2", "--resume", "auto")
    stopped = lowmed(*command, "--max-minutes", "0")
    assert stopped.returncode == 0, stopped.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("stopped", 1)

    finished = lowmed(*command)
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"

    again = lowmed(*command)
    assert again.returncode == 0, again.stderr
    nothing, done, following = again.stderr.splitlines()
    assert nothing == "run     run is finished; nothing to do"
    assert done.endswith("adapter in run/adapter")
    assert following == "next    lowmed eval run --with-base"

    other = lowmed("sft", *START, "method.max_steps=3", "--resume", "auto")
    assert other.returncode == 2
    assert "the run in that directory has another recipe" in other.stderr
