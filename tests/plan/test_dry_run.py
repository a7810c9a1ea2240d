import os
from pathlib import Path

import pytest
from conftest import Lowmed

from lowmed.plan import calibration


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells the peak of a phase")
def test_a_rehearsal_measures_every_phase_and_calibrates_the_plan(
    lowmed: Lowmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = calibration.rows()
    monkeypatch.chdir(tmp_path)
    small = (
        "method.prompts_per_step=2",
        "method.num_generations=2",
        "method.max_completion_length=8",
        "method.beta=0.1",
    )
    done = lowmed("plan", "--recipe", "rarl", "--nano", "--rehearse", *small, "eval.max_new_tokens=8")
    assert done.returncode == 0, done.stderr
    [row] = [each for each in calibration.rows() if each not in shipped]
    assert set(row.gib) == {"load", "rollout", "scoring forward", "backward", "evaluation"}
    assert all(gib > 0 for gib in row.gib.values())
    assert set(row.seconds) == {"update", "rollout", "scoring forward", "backward"}
    assert row.seconds["update"] == pytest.approx(sum(row.seconds.values()) - row.seconds["update"], abs=0.01)
    assert (row.card, row.lengths.image, row.lengths.completion) == ("CPU", 9, 8)
    assert not list(tmp_path.rglob("checkpoints"))
