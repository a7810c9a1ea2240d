"""Weights that are no numbers end a run at its first update, in words."""

import math
from pathlib import Path

import pytest

from lowmed import run as runs
from lowmed.data.load import load as load_data
from lowmed.data.split import split_data
from lowmed.engine import train
from lowmed.errors import SetupError
from lowmed.recipe import io


def test_a_first_loss_that_is_no_number_is_told_and_recorded_as_such(tmp_path: Path) -> None:
    small = ["method.updates=2", "method.questions_per_update=2", "data.train_limit=4", "model.load_in=16bit"]
    plan = io.load_recipe("rarl-sft", small, nano=True)
    loaded = train.load_for_training(plan)
    for name, weight in loaded.model.named_parameters():
        if name.endswith("language_model.norm.weight"):
            weight.data.fill_(math.nan)
    run = runs.create_run(plan, "broken", out=str(tmp_path / "run"))
    division = split_data(load_data(plan.data.source, plan.data.path), plan.data, plan.seed)
    with pytest.raises(SetupError, match="first loss is no number"):
        train.train(run, loaded, division, report=lambda _update, _row: None)
    assert [math.isnan(row["loss"]) for row in run.rows("metrics.jsonl")] == [True]  # and not 0
