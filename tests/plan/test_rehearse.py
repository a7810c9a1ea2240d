import os
from pathlib import Path

import pytest

from lowmed import recipe_file
from lowmed.plan import measured


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells the peak of a phase")
def test_a_rehearsal_measures_every_phase_and_calibrates_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lowmed.engine import rehearse

    monkeypatch.chdir(tmp_path)
    small = ("method.questions_per_update=2", "method.group_size=2", "method.max_new_tokens=8", "method.beta=0.1")
    plan = recipe_file.load("rarl", [*small, "eval.max_new_tokens=8"], nano=True)
    row = rehearse.rehearse(plan)
    assert set(row.gib) == {"load", "rollout", "scoring forward", "backward", "evaluation"}
    assert all(gib > 0 for gib in row.gib.values())
    assert set(row.seconds) == {"update", "rollout", "scoring forward", "backward"}
    assert row.seconds["update"] == pytest.approx(sum(row.seconds.values()) - row.seconds["update"], abs=0.01)
    assert (row.card, row.lengths.image, row.lengths.reply) == ("CPU", 9, 8)
    measured.store(row)
    assert row in measured.rows()
    assert not list(tmp_path.rglob("checkpoints"))
