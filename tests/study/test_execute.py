"""A real study of the embedded model: stopped, continued, with an arm that fails."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Lowmed, Start
from study.made import write_study

from lowmed.nano import folder as nano

STUDY = {
    "about": "SFT, then RL from its adapter, and an arm whose weights are broken",
    "nano": True,
    "seeds": [0],
    "arms": {
        "broken": {"recipe": "rarl-sft", "set": ["method.max_steps=1", "model.name=broken"]},
        "after-broken": {"recipe": "rl-plain", "set": ["model.name=broken"], "start": "broken"},
        "sft": {"recipe": "rarl-sft", "set": ["method.max_steps=2"]},
        "rl": {"recipe": "rarl-sft", "set": ["method.max_steps=30", "method.save_steps=30"], "start": "sft"},
    },
    "eval": {"max_questions": 2},
    "compare": [{"first": "sft", "second": "rl"}],
}


@pytest.mark.slow
def test_a_study_is_stopped_by_ctrl_c_continued_and_keeps_what_is_finished(
    tmp_path: Path, lowmed: Lowmed, start: Start
) -> None:
    shutil.copytree(nano(), tmp_path / "broken")
    weights = tmp_path / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    write_study(tmp_path / "s.yaml", STUDY)
    process = start("study", "s.yaml", "--out", "out")
    metrics = tmp_path / "out" / "runs" / "rl-seed0" / "metrics.jsonl"
    while process.poll() is None and not metrics.exists():
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.wait() == 130, errors
    assert "stopped (SIGINT) after step" in errors
    jobs = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "out" / "jobs").glob("*.json")}
    assert {name: job["status"] for name, job in jobs.items()} == {
        "broken-seed0": "failed", "after-broken-seed0": "failed", "sft-seed0": "finished", "rl-seed0": "stopped",
    }  # fmt: skip
    assert jobs["after-broken-seed0"]["error"] == "it starts from broken-seed0, which failed"
    assert "sft" in output  # the table of what is finished
    sft = tmp_path / "out" / "runs" / "sft-seed0" / "run.json"
    before = sft.read_bytes()

    continued = lowmed("study", "s.yaml", "--out", "out")
    assert continued.returncode == 1  # an arm has failed
    assert "failed  broken-seed0: cannot load the model folder" in continued.stderr
    assert sft.read_bytes() == before
    result = json.loads((tmp_path / "out" / "study.json").read_text())
    assert [run["status"] for run in result["runs"]] == ["failed", "failed", "finished", "finished"]
    assert not result["complete"]
    assert [row["arm"] for row in result["accuracies"]] == ["sft", "rl", "sft", "rl"]
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 31))  # resumed, not repeated
    assert str(tmp_path) not in (tmp_path / "out" / "study.json").read_text()
    checked = lowmed("study", "--verify", "out")
    assert checked.returncode == 0, checked.stdout
