"""The data of a run as stored in its folder, and how the present data differ from them."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lowmed.data.identity import NO_IMAGES, RowIdentity, changes
from lowmed.data.split import DEV, DataSplit
from lowmed.errors import RunError
from lowmed.files import append_jsonl, read_jsonl, to_jsonl, write_json, write_text

SPLIT, ROWS = "split.json", "data_rows.jsonl"
EARLIER = "earlier_data_rows.jsonl"  # the rows of the data before they were changed, if the user allowed it
START = "start_data_rows.jsonl"  # the rows that the run of the starting adapter trained on, if any is held out here
FIX = "copy the file from a backup of the run, or start a new run"


def store_data(folder: Path, data_split: DataSplit) -> None:
    """Write the ids of each part and the digests of all rows into the folder of a run."""
    write_json(folder / SPLIT, data_split.ids())
    write_text(folder / ROWS, to_jsonl(asdict(row) for row in data_split.rows))


def data_changes(folder: Path, data_split: DataSplit) -> list[str]:
    """How the data differ from those of a run, one line for each kind of change; empty if they are the same.

    Args:
        folder: the folder of the run.
        data_split: the present data, split by the recipe of the run.

    Raises:
        RunError: the stored rows are damaged or missing; earlier versions did not store them.
    """
    path = folder / ROWS
    if not path.is_file():
        raise RunError(
            "the run does not say which data it was trained on",
            f"{path} is missing",
            "copy it from a backup, use the version of lowmed that is named in run.json, or start a new run",
        )
    return changes(_read(path), data_split.rows)


def keep_earlier_data(folder: Path) -> None:
    """Keep the stored rows, because training continues on other data."""
    append_jsonl(folder / EARLIER, read_jsonl(folder / ROWS, fix=FIX))


def rows_of_start(start: str | None) -> list[RowIdentity]:
    """The rows that the run of a starting adapter trained on, and the runs before it; empty for an adapter of no run.

    Args:
        start: `lora.start`: a run, its adapter, or one of its checkpoints.
    """
    folders = (Path(start), *Path(start).resolve().parents[:2]) if start else ()
    folder = next((folder for folder in folders if (folder / ROWS).is_file()), None)
    if folder is None:
        return []
    rows = [row for name in (ROWS, EARLIER, START) for row in _read(folder / name)]
    return [row for row in rows if row.part == "train"]


def warnings_of_start(rows: Iterable[RowIdentity], data_split: DataSplit) -> dict[str, str]:
    """A warning for each held-out part, and dev, with questions that the starting adapter was trained on."""
    trained = {key for row in rows for key in _keys(row)}
    warnings = {}
    for name in (*data_split.held_out, *([DEV] if data_split.dev else [])):
        seen, of = _seen(data_split, name, trained)
        if seen:
            warnings[name] = f"the starting adapter was trained on {seen} of its {of} questions or images"
    return warnings


def store_start(folder: Path, rows: Iterable[RowIdentity]) -> None:
    """Keep the rows that the starting adapter was trained on, for the tables of the run."""
    write_text(folder / START, to_jsonl(asdict(row) for row in rows))


def warn_of_earlier_data(folder: Path, data_split: DataSplit, *, changed: bool) -> DataSplit:
    """The split with a warning for each held-out part, if the run or its starting adapter was trained on other data.

    The warning counts the questions of the part that were in an earlier training split, or whose images were.

    Args:
        folder: the folder of the run.
        data_split: the present data.
        changed: whether `data_changes` names a change.
    """
    earlier = _read(folder / EARLIER) + (_read(folder / ROWS) if changed else [])
    trained = {key for row in earlier if row.part == "train" for key in _keys(row)}
    by_start = warnings_of_start(_read(folder / START), data_split)
    warnings = {}
    for name in data_split.held_out:
        texts = [by_start[name]] if name in by_start else []
        if earlier:
            seen, of = _seen(data_split, name, trained)
            texts.append(f"the data changed; {seen} of its {of} questions or images were trained on before")
        if texts:
            warnings[name] = "; ".join(texts)
    return replace(data_split, changed=warnings) if warnings else data_split


def _seen(data_split: DataSplit, name: str, trained: Container[tuple[str, ...]]) -> tuple[int, int]:
    """How many questions of a part were trained on, themselves or their images, and how many it has."""
    rows = [row for row in data_split.rows if row.part == name]
    return sum(any(key in trained for key in _keys(row)) for row in rows), len(rows)


def _keys(row: RowIdentity) -> set[tuple[str, ...]]:
    """What a row shares with another one if training on that one has shown it: its images, or all of it."""
    return {(row.text, row.images), *([(row.images,)] if row.images != NO_IMAGES else [])}


def _read(path: Path) -> list[RowIdentity]:
    return [_row(path, line) for line in read_jsonl(path, fix=FIX)]


def _row(path: Path, line: Mapping[str, Any]) -> RowIdentity:
    try:
        row = RowIdentity(**line)
        if not all(isinstance(value, str) for value in line.values()):
            raise TypeError("a value is not text")
    except TypeError as error:
        raise RunError("a row of the run's data is damaged", str(path), FIX) from error
    return row
