"""A run whose judge dies pauses with a checkpoint, and resumes to the result of a run whose judge lived."""

import hashlib
import threading
from pathlib import Path

import pytest
from judge.served import JudgeRequest, serving, verdict

import lowmed
from lowmed import progress
from lowmed.evaluation.judge_calibration import agreement
from lowmed.judge import CLINICAL, Judge, calibration, transport, usage
from lowmed.judge.records import Attacks, RubricCalibration

pytestmark = pytest.mark.slow
SHORT = [
    "method.max_steps=5", "method.save_steps=20", "method.num_generations=8", "method.prompts_per_step=2",
    "method.max_completion_length=48",
]  # fmt: skip


def calibrated(file: Path, judge: Judge) -> None:
    labels = agreement([(True, True), (False, False)] * 60)
    result = RubricCalibration(
        passed=True, faults=(), judge=judge.identity(CLINICAL), rows=120, skipped_rows=0, no_verdict=0, all=labels,
        judged_by_model=labels, attacks=Attacks(tried=9, accepted=0, accepted_texts=()), disagreements=(),
        usage=judge.usage(),
    )  # fmt: skip
    calibration.write(file, judge, CLINICAL, result)


def lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.parametrize("steps", [0, 3])
def test_a_run_pauses_when_its_judge_dies_and_resumes_equal(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transport, "PAUSES_SECONDS", ())
    monkeypatch.setattr(usage, "MAX_FAILED", 0.0)  # a few failures are tolerated, but nano sends a few requests a step
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.05)
    dead, shown = False, threading.Event()

    def log_wait(line: str) -> None:
        if line.startswith("judge   0/"):
            shown.set()

    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        assert shown.wait(60)
        if dead and lines(Path("paused/metrics.jsonl")) >= steps:
            return 500, b"out of memory"
        return verdict(request, hashlib.sha256(request.candidate.encode()).digest()[0] % 2 == 0)

    with serving(respond) as server:
        calibrated(tmp_path / "judge.json", Judge(server.url, "m"))
        settings = [f"judge.url={server.url}", "judge.model=m", "judge.calibration=judge.json", *SHORT]
        recipe = lowmed.load_recipe("zhu-msa", settings, nano=True)
        complete = lowmed.train(recipe, "complete", log=log_wait)
        (tmp_path / "runs/judge.sqlite").unlink()  # or no request would be sent again
        dead, log = True, list[str]()
        paused = lowmed.train(recipe, "paused", log=log.append)
        assert (paused.record.status, paused.record.steps) == ("stopped", steps)
        assert "to the judge failed" in str(paused.record.reason)
        assert any("to the judge failed" in line and server.url.removesuffix("/v1") in line for line in log)
        assert bool(paused.last_checkpoint()) == bool(steps)
        dead = False
        resumed = lowmed.resume_training(paused)
    assert resumed.record.status == "finished"
    for name in ("adapter/adapter_model.safetensors", "rollouts.jsonl"):
        assert (resumed.folder / name).read_bytes() == (complete.folder / name).read_bytes()
