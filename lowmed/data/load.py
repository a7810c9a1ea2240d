"""The known data sets by name."""

import difflib
from collections.abc import Callable, Mapping

from lowmed.data import folder, phantom_source, vqa_rad
from lowmed.data.dataset import DataSet
from lowmed.data.ingest import hub
from lowmed.data.sources import KNOWN
from lowmed.errors import RecipeError

Sizes = Mapping[str, int]
PHANTOM_SIZES: Sizes = {"train": 960, "test": 600, "unseen": 200}
SILVAR_MED_HUB_ID = "Hanhpt23/Silvar-Med"


def load(source: str, path: str | None = None, *, seed: int = 0, sizes: Sizes = PHANTOM_SIZES) -> DataSet:
    """The data set of that name, from the folder at `path` or, where it has one, from the hub.

    `seed` and `sizes` (samples per split) are for `phantom`, which is generated; the others are what they are.

    Raises:
        RecipeError: there is no such source.
        DataError: the data are missing or wrong.
        SetupError: the hub is needed and cannot be used.
    """
    if source not in SOURCES and source in KNOWN:
        raise RecipeError(
            f"`{source}` must be prepared before it can be trained on",
            "data.source",
            f"`lowmed data prepare {source} --out DIR`, then data.source=folder data.path=DIR",
        )
    if source not in SOURCES:
        close = difflib.get_close_matches(source, SOURCES, n=1)
        meant = f"; did you mean `{close[0]}`?" if close else ""
        raise RecipeError(
            f"there is no data source `{source}`{meant}",
            "data.source",
            f"use one of {', '.join(SOURCES)}; `folder` with data.path is your own data",
        )
    return SOURCES[source](path, seed, sizes)


def _phantom(path: str | None, seed: int, sizes: Sizes) -> DataSet:
    if path is not None:
        raise RecipeError("phantom is generated and has no folder", "data.path", "leave data.path out")
    return phantom_source.load(sizes, seed)


def _vqa_rad(path: str | None, _seed: int, _sizes: Sizes) -> DataSet:
    return vqa_rad.load(path)


def _silvar_med(path: str | None, _seed: int, _sizes: Sizes) -> DataSet:
    if path is None:
        return hub.load("silvar-med", SILVAR_MED_HUB_ID, folder.FILE)
    return folder.load(path, "silvar-med")


def _folder(path: str | None, _seed: int, _sizes: Sizes) -> DataSet:
    return folder.load(path)


SOURCES: dict[str, Callable[[str | None, int, Sizes], DataSet]] = {
    "phantom": _phantom,
    "vqa-rad": _vqa_rad,
    "silvar-med": _silvar_med,
    "folder": _folder,
}
