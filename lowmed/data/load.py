"""Load a data set by the name of its source, or the data of a recipe."""

import difflib
from collections.abc import Mapping

from lowmed.data import folder, source_cache
from lowmed.data.dataset import DataSet
from lowmed.data.merge import merge
from lowmed.data.sources import KNOWN, generated
from lowmed.data.validate import check_rejected
from lowmed.errors import RecipeError
from lowmed.progress import Progress
from lowmed.recipe import DataSpec, ModelSpec
from lowmed.recipe.dials import Dials

FOLDER = "folder"


def load(
    source: str,
    path: str | None = None,
    *,
    max_image_tokens: int | None = None,
    seed: int = generated.SEED,
    sizes: Mapping[str, int] | None = None,
    dials: Dials | None = None,
    progress: Progress | None = None,
    key: str = "data",
) -> DataSet:
    """Load a data set: a known source, or `folder` for a folder with `samples.jsonl`.

    Args:
        source: the name of the source.
        path: its local copy; None for the hub's copy.
        max_image_tokens: the pixel policy that a known source is imported with; None for the default of recipes.
        seed: seed of a generated source.
        sizes: samples of each split of a generated source.
        dials: how training samples of the testbed differ from test samples.
        progress: shows the first import of a known source.
        key: the recipe key of the entry that names source and path, for errors.

    Raises:
        RecipeError: the source is unknown.
        DataError: the data are missing or damaged.
        SetupError: the hub is needed and cannot be reached.
    """
    if source == FOLDER:
        return folder.load(path, flag=f"{key}.path")
    if source not in KNOWN:
        names = [*KNOWN, FOLDER]
        close = difflib.get_close_matches(source, names, n=1)
        suggestion = f"; did you mean `{close[0]}`?" if close else ""
        raise RecipeError(
            f"there is no data source `{source}`{suggestion}",
            f"{key}.source",
            f"use one of {', '.join(names)}; `folder` with {key}.path is for your own data",
        )
    if source in generated.GENERATORS:
        if path is not None:
            raise RecipeError(f"{source} is generated and has no folder", f"{key}.path", f"leave {key}.path out")
        return generated.load(sizes, seed, source, dials)
    tokens = max_image_tokens or ModelSpec().max_image_tokens
    return source_cache.load(KNOWN[source], path, tokens, progress, flag=f"{key}.path")


def load_data(
    spec: DataSpec, path: str | None = None, *, max_image_tokens: int, progress: Progress | None = None
) -> DataSet:
    """Load the data of a recipe; several data sets are merged into one.

    Args:
        spec: the data of the recipe.
        path: a folder to read in place of `data.path`; with `data.sources`, NAME=FOLDER for each one that has moved,
            separated by commas.
        max_image_tokens: the pixel policy that known sources are imported with.
        progress: shows the first import of a known source.

    Raises:
        RecipeError: a source is unknown, or `path` does not name the source that it belongs to.
        DataError: the data are missing or damaged, or a data set has more unusable rows than the recipe allows.
        SetupError: the hub is needed and cannot be reached.
    """
    if not spec.sources:
        return load(
            str(spec.source),
            path or spec.path,
            max_image_tokens=max_image_tokens,
            dials=spec.dials,
            progress=progress,
        )
    moved = _moved(spec, path)
    datasets = {}
    for number, (name, entry) in enumerate(zip(spec.names, spec.sources, strict=True)):
        folder_of_source = moved.get(name) or entry.path
        key = f"data.sources[{number}]"
        datasets[name] = load(
            entry.source, folder_of_source, max_image_tokens=max_image_tokens, progress=progress, key=key
        )
        check_rejected(datasets[name], spec.max_rejected)
    return merge(datasets)


def _moved(spec: DataSpec, path: str | None) -> dict[str, str]:
    """The folders that replace those of the recipe, by the name of their source."""
    moved = {}
    for part in path.split(",") if path else ():
        name, _, moved_to = part.partition("=")
        if name not in spec.names or not moved_to:
            raise RecipeError(
                f"`{part}` does not say which of the sources {', '.join(spec.names)} is there",
                "--path",
                f"name it, e.g. --path {spec.names[0]}=FOLDER; separate several by commas",
            )
        moved[name] = moved_to
    return moved
