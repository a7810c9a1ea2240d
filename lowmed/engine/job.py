"""The input of a method's trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lowmed.engine.load import Loaded
from lowmed.engine.training_data import TrainingRow
from lowmed.plan.workload import Batch
from lowmed.progress import Log, no_log
from lowmed.recipe import Recipe
from lowmed.rewards import Weighted
from lowmed.run import Run


@dataclass(frozen=True)
class TrainingJob:
    """One training run, ready for `build(job)` of the module that the method names as its trainer.

    Attributes:
        recipe: all settings.
        loaded: model with its adapter, and processor.
        run: the run directory.
        rows: the rows of the whole run in training order.
        dataset: the same rows as a datasets.Dataset, with the columns of `training_data.as_dataset`.
        rewards: the recipe's rewards; empty if the method has none.
        size: how a step is divided into forward passes.
        arguments: the training arguments that all methods share.
        open_image: opens the image references of the samples.
        log: gets lines of text.
    """

    recipe: Recipe
    loaded: Loaded
    run: Run
    rows: Sequence[TrainingRow]
    dataset: Any
    rewards: list[Weighted]
    size: Batch
    arguments: dict[str, Any]
    open_image: Callable[[str], Image.Image]
    log: Log = no_log
