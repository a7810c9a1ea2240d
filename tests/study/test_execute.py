"""Real commands of a study on the embedded model: stopped, continued, failed, repeated."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Lowmed, Start
from ship import finished
from study.made import STUDY, right_on, write_runs, write_study

from lowmed.study.execute import evaluation_commands, training_command
from lowmed.study.folder import StudyFolder
from lowmed.study.jobs import study_jobs
from lowmed.study.read import load_study
from lowmed.study.records import JobRecord

SHORT: dict[str, Any] = {
    **STUDY,
    "seeds": [0],
    "arms": {
        "sft": {"recipe": "rarl-sft", "set": ["method.max_steps=1"]},
        "more": {
            "recipe": "rarl-sft",
            "set": ["method.max_steps=16", "method.save_steps=16", "method.prompts_per_step=8"],
            "start": "sft",
        },
    },
    "eval": {"prompts": ["reasoning"], "max_questions": 2},
    "compare": [],
}


@pytest.fixture
def sft(tmp_path: Path) -> Path:
    """A study whose first run has an adapter that training can start from."""
    folder = write_runs(write_study(tmp_path / "s.yaml", SHORT), tmp_path / "out", {"sft-seed0": right_on(1)})
    run = folder.folder / "runs" / "sft-seed0"
    shutil.rmtree(run / "adapter")
    finished.adapter(run / "adapter", finished.factors(0.02))
    return run


def records(out: Path) -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in (out / "jobs").glob("*.json")}


@pytest.mark.slow
def test_a_run_is_stopped_by_ctrl_c_and_continued_by_a_job_of_submitit(
    tmp_path: Path, lowmed: Lowmed, start: Start, sft: Path
) -> None:
    pytest.importorskip("submitit")
    before = (sft / "run.json").read_bytes()
    process = start("study", "s.yaml", "--out", "out")
    metrics = tmp_path / "out" / "runs" / "more-seed0" / "metrics.jsonl"
    while process.poll() is None and not metrics.exists():
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.wait() == 130, errors
    assert "stopped (SIGINT) after step" in errors
    assert {name: one["status"] for name, one in records(tmp_path / "out").items()} == {
        "sft-seed0": "finished", "more-seed0": "stopped",
    }  # fmt: skip

    continued = lowmed("study", "s.yaml", "--out", "out", "--submit", "local", "--json")
    assert continued.returncode == 0, continued.stderr
    result = json.loads(continued.stdout)
    assert result["complete"]
    assert [run["status"] for run in result["runs"]] == ["finished", "finished"]
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == list(range(1, 17))
    assert (sft / "run.json").read_bytes() == before
    assert "lora:\n" in (text := (tmp_path / "out" / "runs" / "more-seed0" / "recipe.yaml").read_text())
    assert "start: out/runs/sft-seed0" in text
    assert str(tmp_path) not in (tmp_path / "out" / "study.json").read_text()
    checked = lowmed("study", "--verify", "out")
    assert checked.returncode == 0, checked.stdout


def test_a_failed_run_is_recorded_and_does_not_end_the_others(tmp_path: Path, lowmed: Lowmed) -> None:
    sft = SHORT["arms"]["sft"]
    arms = {"blocked": sft, "after": {**sft, "start": "blocked"}, "sft": sft}
    file = write_study(tmp_path / "s.yaml", {**SHORT, "arms": arms})
    folder = write_runs(file, tmp_path / "out", {"sft-seed0": right_on(1)})
    job = study_jobs(load_study(file))[0]
    folder.run(job).folder.mkdir()  # without run.json: training refuses it
    state = JobRecord(arm="blocked", seed=0, digest=job.digest, status="running", max_questions=2)
    folder.write_record(state, job)
    ended = lowmed("study", "s.yaml", "--out", "out")
    assert ended.returncode == 1
    assert "failed  blocked-seed0: the run directory exists" in ended.stderr
    assert records(tmp_path / "out")["after-seed0"]["error"] == "it starts from blocked-seed0, which failed"
    result = json.loads((tmp_path / "out" / "study.json").read_text())
    assert [run["status"] for run in result["runs"]] == ["failed", "failed", "finished"]
    assert {row["arm"] for row in result["accuracies"]} == {"sft"}


@pytest.mark.slow
@pytest.mark.usefixtures("sft")
def test_a_repeated_run_shows_what_differs(tmp_path: Path, lowmed: Lowmed) -> None:
    """The stored completions are those of a predictor, and the stored adapter is random: nothing can be equal."""
    assert lowmed("study", "s.yaml", "--out", "out", "--only", "sft-seed0").returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    ended = lowmed("study", "--verify", "out", "--rerun", "sft-seed0", "--json")
    assert ended.returncode == 1
    report = json.loads(ended.stdout)
    assert report["problems"] == []
    repeated = report["rerun"]
    assert not repeated["same_adapter"]
    assert "data_digest" in repeated["differs"][0]
    [agreement] = repeated["agreements"]
    assert agreement["questions"] == 2  # the ones that both have
    assert agreement["equal"] == 0
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_every_command_of_a_run_is_the_one_by_hand(tmp_path: Path) -> None:
    content = {
        **STUDY,
        "seeds": [0],
        "nano": False,
        "processes": 2,
        "eval": {"prompts": ["direct"], "max_questions": 5},
    }
    spec = load_study(write_study(tmp_path / "s.yaml", content))
    folder = StudyFolder(tmp_path / "out")
    sft, rl = study_jobs(spec)
    run = folder.run(sft).folder
    train = f"sft --recipe rarl-sft --processes 2 --out {run} method.max_steps=4 seed=0"
    assert " ".join(training_command(folder, spec, sft)) == train
    assert training_command(folder, spec, rl)[-1] == f"lora.start={run}"
    [evaluate] = evaluation_commands(folder.run(sft), spec, sft)
    options = f"--prompts direct --questions 5 --processes 2 --out {run}/evals/silvar-med-direct"
    assert " ".join(evaluate) == f"eval {run} --controls 0 {options}"
    run.mkdir(parents=True)
    (run / "run.json").touch()
    assert " ".join(training_command(folder, spec, sft)) == f"sft --resume {run} --processes 2"
