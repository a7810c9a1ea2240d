"""The data of a run as stored in its folder, and how the present data differ from them."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from lowmed.data.identity import NO_IMAGES, RowIdentity, changes
from lowmed.data.split import DataSplit
from lowmed.errors import RunError
from lowmed.files import append_jsonl, read_jsonl, to_jsonl, write_json, write_text

SPLIT, ROWS = "split.json", "data_rows.jsonl"
EARLIER = "earlier_data_rows.jsonl"  # the rows of the data before they were changed, if the user allowed it
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


def warn_of_earlier_data(folder: Path, data_split: DataSplit, *, changed: bool) -> DataSplit:
    """The split with a warning for each held-out part, if the run was trained on other data than these.

    The warning counts the questions of the part that were in an earlier training split, or whose images were.

    Args:
        folder: the folder of the run.
        data_split: the present data.
        changed: whether `data_changes` names a change.
    """
    earlier = _read(folder / EARLIER) + (_read(folder / ROWS) if changed else [])
    if not earlier:
        return data_split
    trained = {key for row in earlier if row.part == "train" for key in _keys(row)}
    warnings = {}
    for name in data_split.held_out:
        rows = [row for row in data_split.rows if row.part == name]
        seen = sum(not trained.isdisjoint(_keys(row)) for row in rows)
        warnings[name] = f"the data changed; {seen} of its {len(rows)} questions or images were trained on before"
    return replace(data_split, changed=warnings)


def _keys(row: RowIdentity) -> set[tuple[str, ...]]:
    """What a row shares with another one if training on that one has shown it: its images, or all of it."""
    return {(row.text, row.images), *([(row.images,)] if row.images != NO_IMAGES else [])}


def _read(path: Path) -> list[RowIdentity]:
    return [_row(path, line) for line in read_jsonl(path, fix=FIX)]


def _row(path: Path, line: Mapping[str, str]) -> RowIdentity:
    try:
        return RowIdentity(**line)
    except TypeError as error:
        raise RunError("a row of the run's data is damaged", str(path), FIX) from error
