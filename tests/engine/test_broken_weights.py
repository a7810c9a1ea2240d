"""NaN weights end a run at its first step with an error."""

import math
from pathlib import Path

import pytest

from lowmed.data.load import load as load_data
from lowmed.data.split import split_data
from lowmed.engine import train
from lowmed.errors import SetupError
from lowmed.recipe.io import load_recipe
from lowmed.run import create_run


def test_a_nan_loss_at_the_first_step_is_an_error_and_is_recorded(tmp_path: Path) -> None:
    small = ["method.max_steps=2", "method.prompts_per_step=2", "data.max_train_questions=4", "model.load_in=16bit"]
    recipe = load_recipe("rarl-sft", small, nano=True)
    loaded = train.load_for_training(recipe)
    for name, weight in loaded.model.named_parameters():
        if name.endswith("language_model.norm.weight"):
            weight.data.fill_(math.nan)
    run = create_run(recipe, "broken", out=str(tmp_path / "run"))
    data_split = split_data(load_data(recipe.data.name, recipe.data.path), recipe.data, recipe.seed)
    with pytest.raises(SetupError, match="NaN or infinite at the first step"):
        train.train(run, loaded, data_split, report=lambda _step, _row: None)
    assert [math.isnan(row["loss"]) for row in run.rows("metrics.jsonl")] == [True]  # and not 0
