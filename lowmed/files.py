"""Reading and writing files: whole or not at all, and one rule for a line that a kill cut short."""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowmed.errors import RunError, SetupError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all: to a temporary file in the same folder, then rename.

    Raises:
        SetupError: the disk is full or not writable; an earlier file of that name is unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none where there is no file. A last line that a kill cut short is left out.

    Raises:
        RunError: another line is not JSON.
    """
    if not path.exists():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):  # no newline at its end: the write was cut short
                break
            raise RunError(
                "the line is not JSON", f"{path}:{number}", "restore the file, or delete the line"
            ) from error
    return rows


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a JSON-lines file.

    Raises:
        SetupError: the disk is full or not writable.
    """
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn errors of a full or unwritable disk into a SetupError."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        # safetensors and torch raise errors of their own for a full disk, without a number.
        full = any(words in str(error) for words in ("No space left on device", "PytorchStreamWriter failed"))
        if number in (errno.ENOSPC, errno.EDQUOT) or full:
            raise SetupError("the disk is full", str(where), "free some space, then --resume the run") from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise SetupError("the folder cannot be written", str(where), "choose another --out") from error
        raise


def utc_now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
