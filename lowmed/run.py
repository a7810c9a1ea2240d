"""The run folder: created once, written whole, read back by anybody."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowmed.errors import RunError, SetupError
from lowmed.recipe import Recipe
from lowmed.recipe.io import dump_recipe, load_recipe, portable_recipe

FOLDER = "runs"


@dataclass(frozen=True)
class Run:
    """A folder that holds one training run: recipe, status, metrics, rollouts, checkpoints, adapter, evaluations."""

    folder: Path

    @property
    def adapter(self) -> Path:
        """The trained adapter, plain PEFT."""
        return self.folder / "adapter"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie, one folder each."""
        return self.folder / "checkpoints"

    @property
    def record(self) -> dict[str, Any]:
        """The content of run.json."""
        return read_json(self.folder / "run.json")

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe of the run."""
        return load_recipe(str(self.folder / "recipe.yaml"))

    def update(self, **fields: Any) -> None:
        """Set fields of run.json, keeping the others."""
        write_json(self.folder / "run.json", {**self.record, **fields})

    def append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Add rows to a JSON-lines file of the run."""
        with disk_errors(self.folder), (self.folder / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a JSON-lines file of the run; none when there is no such file."""
        path = self.folder / name
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def rewind(self, name: str, step: int) -> None:
        """Drop the rows of a JSON-lines file that were written after that step, and a line cut by a kill."""
        path = self.folder / name
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break  # the write that a kill cut short; nothing can follow it
            if row["step"] <= step:
                kept.append(line)
        write_text(path, "".join(line + "\n" for line in kept))

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint that was written to its end."""
        done = [path.parent for path in self.checkpoints.glob("checkpoint-*/complete.json")]
        return max(done, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def create_run(recipe: Recipe, name: str, *, out: str | None = None) -> Run:
    """A new run folder with its recipe inside, status `running`.

    Raises:
        RunError: the folder exists.
        SetupError: it cannot be written.
    """
    folder = Path(out) if out else Path(FOLDER) / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
    with disk_errors(folder):
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            raise RunError(
                "the run folder exists", str(folder), f"choose another --out, or go on with --resume {folder}"
            ) from error
        write_text(folder / "recipe.yaml", dump_recipe(portable_recipe(recipe)))
        record = {"name": name, "status": "running", "started": utc_now(), "recipe_digest": recipe.digest}
        write_json(folder / "run.json", record)
    return Run(folder)


def open_run(path: str) -> Run:
    """The run in that folder, or with `auto` the newest one under runs/ that has not finished.

    Raises:
        RunError: there is none.
    """
    if path == "auto":
        runs = sorted(Path(FOLDER).glob("*/run.json"))
        unfinished = [file.parent for file in runs if read_json(file)["status"] != "finished"]
        if not unfinished:
            raise RunError("no unfinished run to resume", f"{FOLDER}/", "start one, or name a folder: --resume RUN")
        return Run(unfinished[-1])
    if not (Path(path) / "run.json").is_file():
        raise RunError("this is no run folder", path, "name a folder that holds run.json")
    return Run(Path(path))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: through a temporary file beside it and a rename.

    Raises:
        SetupError: the disk is full or not writable; the file that stood there still stands.
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


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Tell a full or read-only disk in three lines."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        # safetensors and torch tell a full disk by errors of their own, without a number.
        told = any(words in str(error) for words in ("No space left on device", "PytorchStreamWriter failed"))
        if number in (errno.ENOSPC, errno.EDQUOT) or told:
            raise SetupError("the disk is full", str(where), "free some space, then --resume the run") from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise SetupError("the folder can not be written", str(where), "choose another --out") from error
        raise


def utc_now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
