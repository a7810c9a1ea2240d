"""Phantom, the generated data set: as many samples of each split as are asked for, and images drawn on demand."""

from collections.abc import Mapping
from typing import Literal, get_args

from lowmed.data.dataset import DataSet
from lowmed.errors import RecipeError
from lowmed.nano import phantom
from lowmed.sample import Sample

Split = Literal["train", "test", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)


def load(sizes: Mapping[str, int], seed: int) -> DataSet:
    """Phantom with so many samples per split; `unseen` has the modality that the others leave out.

    Raises:
        RecipeError: a split is unknown, or nothing is asked for.
    """
    unknown = sorted(sizes.keys() - set(SPLITS))
    if unknown or min(sizes.values(), default=0) < 0 or not any(sizes.values()):
        raise RecipeError(
            f"phantom cannot be made with these sizes: {dict(sizes)}",
            "sizes",
            f"give counts above 0 for {', '.join(SPLITS)}",
        )
    splits: dict[str, tuple[Sample, ...]] = {
        split: tuple(phantom.samples(split, sizes[split], seed)) for split in SPLITS if sizes.get(split)
    }
    return DataSet("phantom", splits, (), phantom.picture)
