import os
from pathlib import Path

import pytest
from conftest import Lowmed

from lowmed.plan import calibration


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux reports the peak of a phase")
def test_a_dry_run_measures_every_phase_and_is_stored(
    lowmed: Lowmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = calibration.measured_runs()
    monkeypatch.chdir(tmp_path)
    small = (
        "method.prompts_per_step=2",
        "method.num_generations=2",
        "method.max_completion_length=8",
        "method.beta=0.1",
    )
    done = lowmed("plan", "--recipe", "rarl", "--nano", "--dry-run", *small, "eval.max_new_tokens=8")
    assert done.returncode == 0, done.stderr
    [run] = [each for each in calibration.measured_runs() if each not in shipped]
    assert set(run.gib) == {"load", "rollout", "scoring forward", "backward", "evaluation"}
    assert all(gib > 0 for gib in run.gib.values())
    assert set(run.seconds) == {"step", "rollout", "scoring forward", "backward"}
    assert run.seconds["step"] == pytest.approx(sum(run.seconds.values()) - run.seconds["step"], abs=0.01)
    assert (run.card, run.lengths.image, run.lengths.completion) == ("CPU", 9, 8)
    assert not list(tmp_path.rglob("checkpoints"))
