"""Training as a function: what is refused before a model is loaded."""

from pathlib import Path

import pytest

import lowmed
from lowmed.run import create_run


def test_a_run_whose_data_have_changed_is_not_resumed(tmp_path: Path) -> None:
    recipe = lowmed.load_recipe("rarl-sft", nano=True)
    run = create_run(recipe, "changed", out=str(tmp_path / "run"))
    run.update(status="stopped", data_digest="0" * 64)
    with pytest.raises(lowmed.LowmedError, match="the data have changed since this run started"):
        lowmed.resume_training(run)
    assert run.record.status == "stopped"


def test_a_finished_run_and_another_recipe_are_refused(tmp_path: Path) -> None:
    recipe = lowmed.load_recipe("rarl-sft", nano=True)
    run = create_run(recipe, "taken", out=str(tmp_path / "run"))
    with pytest.raises(lowmed.LowmedError, match="has another recipe"):
        lowmed.train(lowmed.load_recipe("rarl", nano=True), run.folder, resume=True)
    run.update(status="finished")
    with pytest.raises(lowmed.LowmedError, match="the run is finished"):
        lowmed.resume_training(run)
    assert lowmed.train(recipe, run.folder, resume=True) == run
