"""The run directory: created once, written atomically, read by every later command."""

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lowmed.errors import RunError
from lowmed.files import append_jsonl, disk_errors, read_jsonl, require_absent, to_jsonl, utc_now, write_text
from lowmed.lock import UNSUPPORTED, HeldError, holder, locked
from lowmed.recipe.io import dump_recipe, load_recipe, portable_recipe
from lowmed.records import (
    DevLine,
    MetricsLine,
    RolloutLine,
    RunRecord,
    StepLine,
    check_lines,
    parse_record,
    read_record,
)

if TYPE_CHECKING:  # the list of runs needs no schema
    from lowmed.recipe import Recipe
    from lowmed.recipe.track import TrackSpec

FOLDER = "runs"
RECORD = "run.json"
RECIPE = "recipe.yaml"
LOCK = "lock"
COMPLETE = "complete.json"  # the last file of a checkpoint
Status = Literal["running", "interrupted", "stopped", "failed", "finished"]
_LINES: dict[str, type[StepLine]] = {
    "metrics.jsonl": MetricsLine, "canaries.jsonl": MetricsLine, "dev.jsonl": DevLine, "rollouts.jsonl": RolloutLine,
}  # fmt: skip
_FIX = "restore the file, or delete the line"
_CHECKPOINT = re.compile(r"checkpoint-[0-9]{1,12}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Run:
    """A training run's directory: recipe, record, metrics, rollouts, checkpoints, adapter, evaluations."""

    folder: Path

    def __fspath__(self) -> str:
        """The path of the directory, so that a run can be given wherever a path can."""
        return str(self.folder)

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def adapter(self) -> Path:
        """Directory of the trained adapter, in PEFT's format."""
        return self.folder / "adapter"

    @property
    def checkpoints(self) -> Path:
        """Directory of the checkpoints, one subdirectory each."""
        return self.folder / "checkpoints"

    @property
    def record(self) -> RunRecord:
        """The content of run.json.

        Raises:
            RunError: the file is damaged, or written by a newer version.
        """
        return read_record(self.folder / RECORD, RunRecord)

    @property
    def recipe(self) -> "Recipe":
        """The resolved recipe of the run."""
        return load_recipe(str(self.folder / RECIPE))

    def status(self) -> tuple[Status, str]:
        """What the run is doing, and why: a run that records `running` but holds no lock was interrupted.

        Raises:
            RunError: the record is damaged, or written by a newer version.
        """
        record = self.record
        if record.status == "finished":
            return "finished", ""
        try:
            process = holder(self.folder / LOCK)
        except OSError as error:
            if record.status == "running":
                return "running", f"its lock cannot be read ({error.strerror}), so it may have been interrupted"
            process = None
        if process:
            return "running", process
        if record.status == "running":
            return "interrupted", "its process was killed, or the machine stopped"
        return record.status, (record.reason if record.status == "stopped" else record.error) or ""

    def lock(self) -> AbstractContextManager[bool]:
        """Keep other processes from training or removing this run; see `lock_folder`."""
        return lock_folder(self.folder, "run")

    def update(self, **fields: Any) -> None:
        """Set fields of run.json and keep the others.

        Raises:
            RunError: a field of that name or type does not exist.
            SetupError: the disk is full or not writable.
        """
        file = self.folder / RECORD
        parse_record({**self.record.as_json(), **fields}, file, RunRecord).write(file)

    def track_by(self, track: "TrackSpec") -> None:
        """Replace the section `track` of the run's recipe, which is no part of its digest."""
        recipe = self.recipe
        if recipe.track != track:
            write_text(self.folder / "recipe.yaml", dump_recipe(recipe.model_copy(update={"track": track})))

    def append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Append rows to a JSON-lines file of the run."""
        append_jsonl(self.folder / name, rows)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Read a JSON-lines file of the run; an empty list if it does not exist.

        Raises:
            RunError: a line is damaged.
        """
        path = self.folder / name
        rows = read_jsonl(path, fix=_FIX)
        check_lines(rows, path, _LINES.get(name, StepLine), fix=_FIX)
        return rows

    def rewind(self, name: str, step: int) -> None:
        """Drop the rows of a JSON-lines file written after a step, and a last line that is incomplete."""
        path = self.folder / name
        if path.exists():
            write_text(path, to_jsonl(row for row in self.rows(name) if row["step"] <= step))

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint."""
        return next(iter(self.complete_checkpoints()), None)

    def complete_checkpoints(self) -> list[Path]:
        """All complete checkpoints, newest first."""
        complete = [path.parent for path in self.checkpoints.glob(f"checkpoint-*/{COMPLETE}")]
        named = [path for path in complete if _CHECKPOINT.fullmatch(path.name)]
        return sorted(named, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


@contextmanager
def lock_folder(folder: Path, what: str) -> Iterator[bool]:
    """Keep other processes from using a folder, until the block or this process ends.

    Args:
        folder: a run, or the directory of a bridge.
        what: `run` or `bridge`, for error messages.

    Yields:
        Whether the lock is held: False if the file system has no locks.

    Raises:
        RunError: another process holds the lock, or the folder no longer exists.
        SetupError: the directory is not writable.
    """
    with ExitStack() as stack:
        held = True
        try:
            with disk_errors(folder):
                stack.enter_context(locked(folder / LOCK))
        except HeldError as error:
            raise RunError(
                f"another process is using this {what}",
                f"{folder}\n{error}",
                "wait until it ends, or stop it: SIGTERM stops training with a checkpoint",
            ) from error
        except FileNotFoundError as error:
            raise _missing(str(folder)) from error
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            held = False
        yield held


def create_run(recipe: "Recipe", name: str, *, out: str | None = None) -> Run:
    """Create a run directory that holds the recipe, with status `running`.

    Raises:
        RunError: the directory exists.
        SetupError: it cannot be written.
    """
    folder = Path(out) if out else Path(FOLDER) / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
    # Built aside and renamed, so that a killed process leaves no directory that is neither a run nor free.
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    require_new_run(folder)
    with disk_errors(folder):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write_text(aside / RECIPE, dump_recipe(portable_recipe(recipe)))
        record = RunRecord(name=name, status="running", started=utc_now(), recipe_digest=recipe.digest)
        record.write(aside / RECORD)
        try:
            aside.rename(folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):  # created in the meantime
                raise _existing(folder) from error
            raise
    return Run(folder)


def require_new_run(folder: Path) -> None:
    """Refuse to create a run where something exists.

    Raises:
        RunError: something is there, or a folder above it is not a folder.
    """
    if os.path.lexists(folder):
        raise _existing(folder)
    require_absent(folder)


def _existing(folder: Path) -> RunError:
    return RunError(
        "the run directory exists", str(folder), f"choose another --out, or resume it with --resume {folder}"
    )


def open_run(path: str) -> Run:
    """Open a run directory; `auto` opens the newest one under runs/ that has not finished.

    Raises:
        RunError: the directory does not exist or is not a run.
    """
    if path == "auto":
        files = sorted(Path(FOLDER).glob(f"[!.]*/{RECORD}"))  # hidden: half removed
        unfinished = [file.parent for file in files if _is_unfinished(file)]
        if not unfinished:
            raise RunError("no unfinished run to resume", f"{FOLDER}/", "start one, or name a directory: --resume RUN")
        return Run(unfinished[-1])
    if not Path(path).exists():
        raise _missing(path)
    if not (Path(path) / RECORD).is_file():
        raise RunError("not a run directory", path, f"name a directory that holds {RECORD}")
    return Run(Path(path))


def _is_unfinished(file: Path) -> bool:
    """Whether a run can be resumed, by its record. A damaged one is skipped with a warning."""
    try:
        return read_record(file, RunRecord).status != "finished"
    except RunError as error:
        logging.getLogger("lowmed").warning(f"skipped {file.parent}: {error.what}")
        return False


def _missing(path: str) -> RunError:
    return RunError("the run does not exist", path, "check the path; `lowmed runs` lists the runs")


def is_missing_path(name: str) -> bool:
    """Whether a name is a local path at which nothing exists, as opposed to `nano` or a hub id.

    `owner/name` may be both. It counts as a path if `owner` is a local folder, or `runs`, the folder of all runs.
    """
    if name == "nano" or Path(name).expanduser().exists():
        return False
    owner = name.partition("/")[0]
    return not _HUB_ID.fullmatch(name) or owner in (FOLDER, ".", "..", "~") or Path(owner).is_dir()
