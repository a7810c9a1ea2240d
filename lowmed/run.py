"""The run folder: created once, written whole, read back by anybody."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowmed.errors import RunError
from lowmed.files import append_jsonl, disk_errors, read_json, read_jsonl, utc_now, write_json, write_text
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
        append_jsonl(self.folder / name, rows)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a JSON-lines file of the run; none when there is no such file."""
        return read_jsonl(self.folder / name)

    def rewind(self, name: str, step: int) -> None:
        """Drop the rows of a JSON-lines file that were written after that step, and a line cut by a kill."""
        path = self.folder / name
        if path.exists():
            kept = [row for row in read_jsonl(path) if row["step"] <= step]
            write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))

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
