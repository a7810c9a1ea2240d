"""The folder of one evaluation: what was asked, and who replied what in which condition."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lowmed.errors import RunError
from lowmed.evaluate.controls import REAL
from lowmed.files import disk_errors, read_json, write_json, write_text

SETTINGS = "asked.json"


def open_folder(folder: Path, asked: Mapping[str, Any]) -> None:
    """Make the folder, or take up one in which the same was asked; nobody is asked twice.

    Raises:
        RunError: something else was asked in it.
        SetupError: it cannot be written.
    """
    file = folder / SETTINGS
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
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(file, dict(asked))


def read_settings(folder: Path) -> dict[str, Any]:
    """What was asked in the evaluation of that folder.

    Raises:
        RunError: it is none, or nobody has answered.
    """
    if not (folder / SETTINGS).is_file() or not systems(folder):
        raise RunError("there is no evaluation with replies", str(folder), "run `lowmed eval` first")
    return read_json(folder / SETTINGS)


def path(folder: Path, who: str, condition: str) -> Path:
    """Where the completions of `base`, `tuned` or `endpoint` in a condition lie."""
    return folder / (f"{who}.jsonl" if condition == REAL else f"{who}.{condition}.jsonl")


def systems(folder: Path) -> list[str]:
    """Who has replied in this evaluation."""
    return [who for who in ("base", "tuned", "endpoint") if path(folder, who, REAL).is_file()]


def conditions(folder: Path, who: str) -> list[str]:
    """The conditions in which somebody has replied."""
    names = sorted(file.name.removeprefix(who).removesuffix(".jsonl") for file in folder.glob(f"{who}*.jsonl"))
    return [name.removeprefix(".") or REAL for name in names]


def read(file: Path) -> list[dict[str, Any]]:
    """The stored completions, as far as they are whole: a last line cut by a kill is dropped, and asked again.

    Raises:
        RunError: a line inside the file is damaged.
    """
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            raise RunError(
                "a stored reply is damaged", f"{file}:{number}", "remove the line; it will be asked again"
            ) from None
    if lines[-1]:
        write_text(file, "".join(line + "\n" for line in lines[:-1]))
    return rows


def append(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Store more completions behind those that are there. ASCII, since a completion may hold what UTF-8 cannot."""
    with disk_errors(file), file.open("a", encoding="utf-8") as opened:
        opened.writelines(json.dumps(row) + "\n" for row in rows)
