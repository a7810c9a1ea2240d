"""Load a data set by the name of its source."""

import difflib
from collections.abc import Mapping

from lowmed.data import folder, source_cache
from lowmed.data.dataset import DataSet
from lowmed.data.sources import KNOWN, phantom
from lowmed.errors import RecipeError
from lowmed.progress import Progress
from lowmed.recipe import ModelSpec

FOLDER = "folder"


def load(
    source: str,
    path: str | None = None,
    *,
    max_image_tokens: int | None = None,
    seed: int = phantom.SEED,
    sizes: Mapping[str, int] = phantom.SIZES,
    progress: Progress | None = None,
) -> DataSet:
    """Load a data set: a known source, or `folder` for a folder with `samples.jsonl`.

    Args:
        source: the name of the source.
        path: its local copy; None for the hub's copy.
        max_image_tokens: the pixel policy that a known source is imported with; None for the default of recipes.
        seed: seed of `phantom`, which is generated.
        sizes: samples of each split of `phantom`.
        progress: shows the first import of a known source.

    Raises:
        RecipeError: the source is unknown.
        DataError: the data are missing or damaged.
        SetupError: the hub is needed and cannot be reached.
    """
    if source == FOLDER:
        return folder.load(path)
    if source not in KNOWN:
        names = [*KNOWN, FOLDER]
        close = difflib.get_close_matches(source, names, n=1)
        suggestion = f"; did you mean `{close[0]}`?" if close else ""
        raise RecipeError(
            f"there is no data source `{source}`{suggestion}",
            "data.source",
            f"use one of {', '.join(names)}; `folder` with data.path is for your own data",
        )
    if source == phantom.PHANTOM.name:
        if path is not None:
            raise RecipeError("phantom is generated and has no folder", "data.path", "leave data.path out")
        return phantom.load(sizes, seed)
    return source_cache.load(KNOWN[source], path, max_image_tokens or ModelSpec().max_image_tokens, progress)
