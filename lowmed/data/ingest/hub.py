"""Data sets of the Hugging Face hub: a table with images, questions and answers, whatever its columns are called.

The hub has neither ids nor file names, so both are made from the content: they survive another order of the rows, and
an image that two splits share has one reference.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from lowmed.data.dataset import DataSet, collect_samples, is_yes_no
from lowmed.data.image.files import decode
from lowmed.data.ingest.columns import SPLITS
from lowmed.data.ingest.detect import ImportOptions, RowStream, concatenate, stream_rows
from lowmed.data.ingest.raw_sample import ImageRoot, RowLocation
from lowmed.errors import DataError, SetupError
from lowmed.sample import Sample

COLUMNS = {
    "image": ("image", "images", "img"),
    "question": ("question", "query", "text"),
    "answer": ("answer", "short_answer", "label"),
}
OPTIONAL_COLUMNS = {
    "explanation": ("explanation", "reasoning", "rationale", "long_answer"),
    "modality": ("modality",),
    "topic": ("question_type", "content_type"),
}
Place = tuple[str, int]  # split and row of an image


def load(source: str, hub_id: str, local_form: str) -> DataSet:
    """The data set `hub_id`, downloaded on first use and cached by `datasets`.

    `local_form` says what a folder must hold to be used in place of the hub.

    Raises:
        SetupError: the hub cannot be used from here.
        DataError: its columns are not those of a visual question answering set.
    """
    instead = f"set data.path to a local folder that holds {local_form}"
    tables = _download(hub_id, instead)
    places: dict[str, Place] = {}
    columns: dict[str, dict[str, str]] = {}
    for split, table in tables.items():
        columns[split] = _columns(table.column_names, hub_id, instead)
        tables[split] = _undecoded(table, columns[split]["image"], hub_id, instead)
    splits, rejected = collect_samples(hub_id, _rows(tables), partial(_read, source, columns, places))
    return DataSet(source, splits, rejected, partial(_open, tables, columns, places))


def rows(hub_id: str, source: str, wish: ImportOptions, instead: str) -> RowStream:
    """The rows of a hub data set as questions, its columns found by their names or as the wish has them.

    Raises:
        SetupError: the hub cannot be used from here.
        RecipeError: the columns cannot be told.
    """
    from datasets import Image as ImageFeature

    parts: list[RowStream] = []
    for split, table in _download(hub_id, instead).items():
        for name, feature in table.features.items():
            if isinstance(getattr(feature, "feature", feature), ImageFeature):
                several = not isinstance(feature, ImageFeature)
                undecoded = ImageFeature(decode=False)
                table = table.cast_column(name, type(feature)(undecoded) if several else undecoded)
        lines = ((RowLocation(f"{hub_id}/{split}", number), row) for number, row in enumerate(table))
        shelf, named = ImageRoot(Path(hub_id)), SPLITS.get(split.casefold(), split)
        parts.append(stream_rows(lines, len(table), shelf, wish, source, named))
    return concatenate(parts)


def fetch(hub_id: str, files: tuple[str, ...], instead: str) -> Path:
    """The folder of the hub's cache that holds these files of a data set, downloaded on first use.

    Raises:
        SetupError: the hub cannot be used from here.
    """
    _allow(hub_id, instead)
    from huggingface_hub import hf_hub_download

    try:
        places = [Path(hf_hub_download(hub_id, name, repo_type="dataset")) for name in files]
    except Exception as error:  # of several libraries: no network, no such data set, gated, disk full
        raise _unreachable(hub_id, error, instead) from error
    return places[0].parents[files[0].count("/")]


def _allow(hub_id: str, instead: str) -> None:
    if os.environ.get("LOWMED_OFFLINE", "0") not in ("", "0"):
        raise SetupError(f"`{hub_id}` is on the hub, and LOWMED_OFFLINE forbids to reach it", "LOWMED_OFFLINE", instead)


def _unreachable(hub_id: str, error: Exception, instead: str) -> SetupError:
    told = f"`{hub_id}` could not be loaded from the hub ({type(error).__name__}: {error})"
    return SetupError(told, "data.source", instead)


def _download(hub_id: str, instead: str) -> dict[str, Any]:
    _allow(hub_id, instead)
    from datasets import load_dataset

    try:
        return dict(load_dataset(hub_id))
    except Exception as error:  # of several libraries: no network, no such data set, gated, disk full
        raise _unreachable(hub_id, error, instead) from error


def _columns(names: list[str], hub_id: str, instead: str) -> dict[str, str]:
    """Our name of each column to theirs."""
    by_lower = {name.lower(): name for name in names}
    result = {
        ours: by_lower[alias]
        for ours, aliases in (COLUMNS | OPTIONAL_COLUMNS).items()
        for alias in reversed(aliases)
        if alias in by_lower
    }
    missing = [f"{ours} ({', '.join(COLUMNS[ours])})" for ours in COLUMNS if ours not in result]
    if missing:
        raise DataError(f"no column for {'; '.join(missing)}; there are {', '.join(names)}", hub_id, instead)
    return result


def _undecoded(table: Any, column: str, hub_id: str, instead: str) -> Any:
    """The table with its images as the bytes of their files: cheap to hash, and not held in memory."""
    from datasets import Image as ImageFeature

    if not isinstance(table.features[column], ImageFeature):
        raise DataError(f"column `{column}` holds {table.features[column]}, not pictures", hub_id, instead)
    return table.cast_column(column, ImageFeature(decode=False))


def _rows(tables: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, int, Mapping[str, Any]]]]:
    for split, table in tables.items():
        for number, row in enumerate(table):
            yield f"{split}, row {number}", (split, number, row)


def _read(
    source: str,
    columns: Mapping[str, Mapping[str, str]],
    places: dict[str, Place],
    entry: tuple[str, int, Mapping[str, Any]],
) -> tuple[str, Sample]:
    split, number, row = entry
    cells = {ours: row[theirs] for ours, theirs in columns[split].items()}
    content = _file_bytes(cells.pop("image"))
    texts = {ours: " ".join(str(cell).split()) if cell is not None else "" for ours, cell in cells.items()}
    reference = hashlib.sha256(content).hexdigest()[:16]
    if reference not in places:
        try:
            decode(BytesIO(content), reference, preview=True)
        except DataError as error:
            raise ValueError(error.what) from error
        places[reference] = (split, number)
    key = "\0".join((split, reference, texts["question"], texts["answer"]))
    return split, Sample(
        id=f"{split}-{hashlib.sha256(key.encode()).hexdigest()[:12]}",
        kind="closed" if is_yes_no(texts["answer"]) else "open",
        group=reference,
        source=source,
        images=(reference,),
        question=texts["question"],
        answer=texts["answer"],
        explanation=texts.get("explanation", ""),
        modality=texts.get("modality", ""),
        topic=texts.get("topic", ""),
    )


def _file_bytes(cell: Mapping[str, Any] | None) -> bytes:
    if not cell or not cell["bytes"]:
        raise ValueError("no image")
    return bytes(cell["bytes"])


def _open(
    tables: Mapping[str, Any], columns: Mapping[str, Mapping[str, str]], places: Mapping[str, Place], reference: str
) -> Image.Image:
    if reference not in places:
        raise DataError("the data set has no such picture", reference, "load the data set that the sample came from")
    split, number = places[reference]
    cell = tables[split][number][columns[split]["image"]]
    return decode(BytesIO(_file_bytes(cell)), f"{split}, row {number}")
