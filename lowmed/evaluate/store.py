"""The folder of one evaluation: what was asked, and who replied what."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed.errors import RunError
from lowmed.run import disk, read_json, write_json, write_text


def open_folder(folder: Path, asked: Mapping[str, Any]) -> None:
    """Make the folder, or take up one in which the same was asked; nobody is asked twice.

    Raises:
        RunError: something else was asked in it.
        SetupError: it can not be written.
    """
    file = folder / "asked.json"
    if file.is_file():
        before = read_json(file)
        different = sorted(key for key in asked.keys() | before.keys() if asked.get(key) != before.get(key))
        if different:
            raise RunError(
                f"an evaluation with other settings is there ({', '.join(different)})",
                str(folder),
                "choose another --out, or remove that folder",
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise RunError("the folder exists and is no evaluation", str(folder), "choose another --out")
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(file, dict(asked))


def read(folder: Path, who: str) -> list[dict[str, Any]] | None:
    """The stored replies of `base` or `tuned`, or None where there are none yet."""
    file = folder / f"{who}.jsonl"
    if not file.is_file():
        return None
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write(folder: Path, who: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store replies, whole or not at all."""
    write_text(folder / f"{who}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
