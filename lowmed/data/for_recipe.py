"""The data of a recipe: loaded, split, validated and filtered, by the function that every command calls."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lowmed.data.box_grid import with_box_grid
from lowmed.data.dataset import RejectedRow
from lowmed.data.difficulty import Selection, filter_by_difficulty
from lowmed.data.explanations import keep_trainable
from lowmed.data.load import load_data
from lowmed.data.mixture import require_draws
from lowmed.data.pairs import select_pairs
from lowmed.data.preference_table import PreferenceSelection
from lowmed.data.split import DataSplit, split_data, validate_split
from lowmed.data.unpaired import select_unpaired
from lowmed.progress import Progress
from lowmed.recipe import Recipe
from lowmed.sample import Sample


@dataclass(frozen=True)
class RecipeData:
    """The data of a recipe for training and evaluation, with the rows that were left out.

    Attributes:
        split: the data, ready to train on.
        description: rows, images and kinds of the loaded data set, as lines to print.
        rejected: rows of the source that cannot be used.
        allowed: problems of the split that the recipe allows by name; every table must state them.
        filter_effect: effect of the difficulty filter, as lines; empty without one.
        unexplained: ids of the training samples that SFT leaves out, because the prompts request reasoning and the
            samples have no explanation.
        preferences: the pairs or labeled completions, as lines; empty for methods without them.
    """

    split: DataSplit
    description: tuple[str, ...]
    rejected: tuple[RejectedRow, ...]
    allowed: tuple[str, ...]
    filter_effect: tuple[str, ...]
    unexplained: tuple[str, ...]
    preferences: tuple[str, ...] = ()

    @property
    def unexplained_lines(self) -> tuple[str, ...]:
        """What SFT leaves out for lack of an explanation, as at most one line."""
        if not self.unexplained:
            return ()
        total = len(self.unexplained) + len(self.split.train)
        return (f"{len(self.unexplained):,} of {total:,} training questions are left out: no explanation to train on",)


def for_recipe(
    recipe: Recipe, *, path: str | None = None, filtered: bool = True, progress: Progress | None = None
) -> RecipeData:
    """Load the recipe's data, split them, validate the split, then filter and order the training samples.

    Args:
        recipe: the recipe.
        path: a folder to read in place of `data.path`; with `data.sources`, NAME=FOLDER for each one that has moved.
        filtered: whether to leave out training samples by `data.difficulty`, for SFT those without an explanation that
            the prompts need, and for DPO and KTO those without a completion in their file. A finished run is
            evaluated without these filters.
        progress: shows the preparation of a data set that is not cached yet.

    Raises:
        RecipeError: the source is unknown, SFT on reasoning lacks explanations for most training samples, or DPO or
            KTO has no file of completions.
        DataError: the data or that file are missing or damaged, the split would leak, or no training row is left.
        SetupError: the source must be downloaded and the hub cannot be reached.
    """
    spec, tokens = recipe.data, recipe.model.max_image_tokens
    with _collector_paused():
        dataset = load_data(spec, path, max_image_tokens=tokens, progress=progress)
        dataset = with_box_grid(dataset, recipe.model)
        data_split = split_data(dataset, spec, recipe.seed)
        allowed = validate_split(data_split, spec)
    selection = filter_by_difficulty(data_split.train, spec) if filtered else Selection(data_split.train, {})
    kept = keep_trainable(selection.kept, recipe) if filtered else selection.kept
    selected: PreferenceSelection[Any] = PreferenceSelection(kept, {})
    key = recipe.method.preferences
    if filtered and key:
        held_out = [sample for part in data_split.held_out.values() for sample in part]
        known = (*dataset.samples, *data_split.train, *data_split.dev, *held_out)
        selected = (select_pairs if key == "pairs" else select_unpaired)(kept, known, held_out, spec)
        completions: dict[str, Any] = {key: selected.of_sample}
        data_split = replace(data_split, **completions)
    if filtered:
        require_draws(spec, selected.kept)
    return RecipeData(
        split=replace(data_split, train=selected.kept),
        description=tuple(dataset.describe().splitlines()),
        rejected=dataset.rejected,
        allowed=allowed,
        filter_effect=selection.describe(spec) if filtered else (),
        unexplained=_missing_ids(selection.kept, kept),
        preferences=selected.lines,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection: rows hold no cycles, and walking all of them again and again takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _missing_ids(samples: Sequence[Sample], kept: Sequence[Sample]) -> tuple[str, ...]:
    kept_ids = {sample.id for sample in kept}
    return tuple(sample.id for sample in samples if sample.id not in kept_ids)
