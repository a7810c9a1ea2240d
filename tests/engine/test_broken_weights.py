"""Weights that are no numbers end a run at its first update, in words."""

import math
from pathlib import Path

import pytest

from lowmed import recipe_file
from lowmed import run as runs
from lowmed.data.division import divide
from lowmed.data.load import load as load_data
from lowmed.engine import train
from lowmed.errors import SetupError


def test_a_first_loss_that_is_no_number_is_told_and_recorded_as_such(tmp_path: Path) -> None:
    small = ["method.updates=2", "method.questions_per_update=2", "data.train_limit=4", "model.load_in=16bit"]
    plan = recipe_file.load("rarl-sft", small, nano=True)
    loaded = train.ready(plan)
    for name, weight in loaded.model.named_parameters():
        if name.endswith("language_model.norm.weight"):
            weight.data.fill_(math.nan)
    run = runs.create(plan, "broken", out=str(tmp_path / "run"))
    division = divide(load_data(plan.data.source, plan.data.path), plan.data, plan.seed)
    with pytest.raises(SetupError, match="first loss is no number"):
        train.train(run, loaded, division, report=lambda _update, _row: None)
    assert [math.isnan(row["loss"]) for row in run.rows("metrics.jsonl")] == [True]  # and not 0
