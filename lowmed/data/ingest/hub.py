"""Data sets of the Hugging Face hub: tables with images, questions and answers, and single files."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lowmed.data.ingest import tables
from lowmed.data.ingest.columns import SPLITS
from lowmed.data.ingest.conversations import keys_of
from lowmed.data.ingest.detect import ImportOptions, RowStream, concatenate, stream_rows
from lowmed.data.ingest.raw_sample import ImageRoot, RowLocation
from lowmed.errors import SetupError


def rows(hub_id: str, source: str, options: ImportOptions, instead: str) -> RowStream:
    """The rows of a hub data set; its columns are found by their names, or as the options map them.

    Args:
        hub_id: the data set; `datasets` downloads it on first use and caches it.
        source: the source's name in the samples.
        options: the column mapping and the language.
        instead: the alternative to the hub, for error messages.

    Raises:
        SetupError: the hub cannot be reached.
        RecipeError: the columns cannot be recognized.
    """
    from datasets import Image as ImageFeature

    parts: list[RowStream] = []
    for split, table in _download(hub_id, instead).items():
        for name, feature in table.features.items():
            if isinstance(getattr(feature, "feature", feature), ImageFeature):
                several = not isinstance(feature, ImageFeature)
                undecoded = ImageFeature(decode=False)
                table = table.cast_column(name, type(feature)(undecoded) if several else undecoded)
        lines = tables.split_conversations(_lines(table, f"{hub_id}/{split}"), options.turns)
        split_name = SPLITS.get(split.casefold(), split)
        keys = keys_of(table.column_names)
        count = len(table)
        if keys:
            count = sum(1 for _ in tables.split_conversations(_lines(table.select_columns(keys), ""), options.turns))
        parts.append(stream_rows(lines, count, ImageRoot(Path(hub_id)), options, source, split_name))
    return concatenate(parts)


def _lines(table: Any, name: str) -> Iterator[tables.Line]:
    """The rows of one split. A function, because each location must keep the name of its own split."""
    for number, row in enumerate(table):
        yield RowLocation(name, number), row


def fingerprints(hub_id: str, instead: str) -> list[str]:
    """A text for each split of a hub data set that changes with its content.

    Raises:
        SetupError: the hub cannot be reached.
    """
    return [f"{split} {len(table)} {table._fingerprint}" for split, table in _download(hub_id, instead).items()]


def fetch(hub_id: str, files: tuple[str, ...], instead: str) -> Path:
    """The folder of the hub's cache that contains these files of a data set, downloaded on first use.

    Raises:
        SetupError: the hub cannot be reached.
    """
    _require_online(hub_id, instead)
    from huggingface_hub import hf_hub_download

    try:
        paths = [Path(hf_hub_download(hub_id, name, repo_type="dataset")) for name in files]
    except Exception as error:  # several libraries raise here: no network, no such data set, gated, disk full
        raise _unreachable(hub_id, error, instead) from error
    return paths[0].parents[files[0].count("/")]


def _require_online(hub_id: str, instead: str) -> None:
    if os.environ.get("LOWMED_OFFLINE", "0") not in ("", "0"):
        raise SetupError(f"`{hub_id}` is on the hub, and LOWMED_OFFLINE forbids downloads", "LOWMED_OFFLINE", instead)


def _unreachable(hub_id: str, error: Exception, instead: str) -> SetupError:
    what = f"`{hub_id}` could not be loaded from the hub ({type(error).__name__}: {error})"
    return SetupError(what, "data.source", instead)


def _download(hub_id: str, instead: str) -> dict[str, Any]:
    _require_online(hub_id, instead)
    from datasets import load_dataset

    try:
        return dict(load_dataset(hub_id))
    except Exception as error:  # several libraries raise here: no network, no such data set, gated, disk full
        raise _unreachable(hub_id, error, instead) from error
