"""A run that ends for no known reason has failed; it is never called stopped."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lowmed.data import for_recipe
from lowmed.engine import train
from lowmed.errors import RunError
from lowmed.recipe.io import load_recipe
from lowmed.run import create_run

pytestmark = pytest.mark.slow


def test_an_exception_that_ends_the_data_is_a_failure(tmp_path: Path) -> None:
    """The trainer takes a StopIteration, which any library may raise, for the end of the data."""
    recipe = load_recipe("rarl-sft", ["method.max_steps=2", "method.prompts_per_step=2"], nano=True)
    data_split = for_recipe(recipe).split

    def open_image(reference: str) -> Image.Image:
        raise StopIteration(reference)

    run = create_run(recipe, "run", out=str(tmp_path / "run"))
    broken = replace(data_split, open_image=open_image)
    with pytest.raises((RunError, RuntimeError, StopIteration)):
        train.train(run, train.load_for_training(recipe), broken, report=lambda step, row: None)
    assert run.record.status == "failed"
    assert run.record.error
