"""The data of a run as stored in its folder, and how the present data differ from them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from lowmed.data.identity import RowIdentity, changes
from lowmed.data.split import DataSplit
from lowmed.errors import RunError
from lowmed.files import read_jsonl, to_jsonl, write_json, write_text

SPLIT, ROWS = "split.json", "data_rows.jsonl"
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
    return changes([_row(path, line) for line in read_jsonl(path, fix=FIX)], data_split.rows)


def _row(path: Path, line: Mapping[str, str]) -> RowIdentity:
    try:
        return RowIdentity(**line)
    except TypeError as error:
        raise RunError("a row of the run's data is damaged", str(path), FIX) from error
