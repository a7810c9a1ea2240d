"""Remove the checkpoints of finished runs, or whole runs, and nothing else."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowmed.errors import LowmedError, RunError
from lowmed.recipe.raw import read_raw
from lowmed.run import LOCK, RECIPE, RECORD, Run, open_run

LEFTOVER = ".removed"  # ends the hidden name of a run that is being removed
WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Removal:
    """What is removed: the checkpoints of a run, a run, or the leftover of an interrupted removal."""

    folder: Path
    what: Literal["checkpoints", "run", "leftover"]
    status: str
    bytes: int

    @property
    def path(self) -> Path:
        """The folder that disappears."""
        return self.folder / "checkpoints" if self.what == "checkpoints" else self.folder


def plan_prune(folder: Path) -> Removal:
    """The checkpoints of a finished run, which nothing reads any more.

    Raises:
        RunError: the run is not finished, is damaged, or something else needs its checkpoints.
    """
    run = _require_run(folder)
    _require_prunable(run)
    return Removal(run.folder, "checkpoints", "finished", disk_bytes(run.checkpoints))


def prune(removal: Removal) -> None:
    """Remove the checkpoints of a run, if it is still finished.

    Raises:
        RunError: as `plan_prune`, or another process uses the run, or a file cannot be removed.
    """
    run = Run(removal.folder)
    with run.lock():
        _require_prunable(run)
        with _removal_errors(run.checkpoints, f"lowmed runs prune {run}"), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(run.checkpoints)  # removes links, does not follow them


def plan_removal(folders: Iterable[Path], *, force: bool = False) -> list[Removal]:
    """The runs to remove.

    Args:
        folders: run directories, or leftovers of interrupted removals.
        force: also damaged runs, and runs from whose adapter another run starts.

    Raises:
        RunError: a folder is not a run, is in use, or is needed by another run.
    """
    result: dict[Path, Removal] = {}
    for named in folders:
        folder = named if named.name not in ("", "..") else named.resolve()  # a name, by which it can be renamed
        if is_leftover(folder):
            result[folder.absolute()] = Removal(folder, "leftover", "leftover", disk_bytes(folder))
            continue
        run = _require_run(folder, damaged=force)
        status = _require_idle(run)
        if inner := next((path.parent for path in folder.rglob(RECORD) if path.parent != folder), None):
            raise RunError("the run contains another run", str(inner), "move or remove that run first")
        result[folder.absolute()] = Removal(folder, "run", status, disk_bytes(folder))
    for folder in [] if force else list(result):
        needed_by = [other for other in starting_from(folder) if other.absolute() not in result]
        if needed_by:
            names = "\n".join(f"{other} starts from it (lora.start)" for other in needed_by)
            raise RunError(
                "another run starts from this run's adapter",
                f"{result[folder].folder}\n{names}",
                "keep it, or remove it with --force",
            )
    return list(result.values())


def remove(removal: Removal) -> None:
    """Remove a run. It is renamed first, so that an interruption never leaves half a run under its name.

    Raises:
        RunError: another process uses the run, or a file cannot be removed.
    """
    folder = removal.folder
    with Run(folder).lock() as held, _removal_errors(folder, "change its permissions, then repeat the command"):
        if removal.what == "run":
            if not held:
                _require_idle(Run(folder))
            folder = folder.rename(_aside(folder))
            (folder / RECORD).unlink()  # from here on it is not a run
        for path in folder.iterdir():
            if path.name != LOCK:
                _delete(path)
    with _removal_errors(folder, f"lowmed runs rm {folder}"):
        (folder / LOCK).unlink()
        folder.rmdir()


def starting_from(folder: Path) -> Iterator[Path]:
    """The runs next to a run that start from its adapter or from one of its checkpoints."""
    for other, start in _starts(folder):
        if _is_within(start, folder, folder.absolute().parent):
            yield other


def is_leftover(folder: Path) -> bool:
    """Whether a folder is what an interrupted removal of a run left."""
    name = folder.name
    if not (name.startswith(".") and name.endswith(LEFTOVER)) or folder.is_symlink() or not folder.is_dir():
        return False
    return any((folder / file).is_file() for file in (LOCK, RECORD)) or not any(folder.iterdir())


def disk_bytes(path: Path) -> int:
    """Bytes of all files below a folder. Links are not followed; what cannot be read counts as nothing."""
    return sum(_file_sizes(path))


def _require_run(folder: Path, *, damaged: bool = False) -> Run:
    """A run whose record and recipe can be read; with `damaged`, only their presence is required."""
    run = open_run("./auto" if str(folder) == "auto" else str(folder))
    if folder.is_symlink():
        raise RunError(
            "this is a symbolic link, not the run itself", str(folder), f"name its target: {folder.resolve()}"
        )
    if damaged and (folder / RECIPE).is_file():
        return run
    try:
        _ = run.record
        read_raw(folder / RECIPE)
    except LowmedError as error:
        fix = "restore the file; `lowmed runs rm --force` removes a damaged run"
        raise RunError(f"the run is damaged: {error.what}", str(folder), fix) from error
    return run


def _require_prunable(run: Run) -> None:
    status, _ = run.status()
    if status != "finished":
        raise RunError(
            f"the run is not finished, it is {status}", str(run), "checkpoints are needed to resume it; finish it first"
        )
    if run.checkpoints.is_symlink():
        raise RunError("the folder of the checkpoints is a symbolic link", str(run.checkpoints), "remove its target")
    for name in WEIGHTS:
        file = run.adapter / name
        if not file.is_file() or file.resolve().is_relative_to(run.checkpoints.resolve()):
            raise RunError(
                "the run's own adapter is missing, so its checkpoints hold the only weights",
                str(file),
                "copy the adapter from the last checkpoint to that folder",
            )
    parent = run.folder.absolute().parent
    for other, start in _starts(run.folder):
        if _is_within(start, run.checkpoints, parent):
            raise RunError(
                "another run starts from a checkpoint of this run",
                f"{run}\n{other} (lora.start)",
                "keep the checkpoint",
            )


def _require_idle(run: Run) -> str:
    """The status of a run, which must not be running, as far as can be seen without taking its lock."""
    try:
        status, reason = run.status()
    except LowmedError:  # --force removes it, once its lock is taken
        return "damaged"
    if status == "running":
        raise RunError(
            "the run is running",
            f"{run}\n{reason}",
            "stop it first: SIGTERM stops training with a checkpoint; then repeat the command",
        )
    return status


def _starts(folder: Path) -> Iterator[tuple[Path, str]]:
    """The other runs next to a run, with the adapter that each starts from."""
    for file in sorted(folder.absolute().parent.glob(f"[!.]*/{RECIPE}")):
        if file.parent == folder.absolute():
            continue
        with contextlib.suppress(LowmedError, AttributeError):  # not a readable recipe
            start = (read_raw(file).values.get("lora") or {}).get("start")
            if isinstance(start, str):
                yield file.parent, start


def _is_within(start: str, folder: Path, parent: Path) -> bool:
    """Whether a starting adapter is in a folder. Its path is relative to where training was started."""
    path = Path(start).expanduser()
    present = [place / path for place in (Path.cwd(), parent.parent, parent) if (place / path).exists()]
    if present:
        return any(place.resolve().is_relative_to(folder.resolve()) for place in present)
    relative = folder.absolute().relative_to(parent).parts  # started elsewhere: the names decide
    return any(path.parts[at : at + len(relative)] == relative for at in range(len(path.parts)))


def _aside(folder: Path) -> Path:
    names = (f".{folder.name}{number or ''}{LEFTOVER}" for number in range(1000))
    return next(path for name in names if not os.path.lexists(path := folder.with_name(name)))


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextlib.contextmanager
def _removal_errors(where: Path, fix: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"not everything could be removed ({error.strerror})"
        raise RunError(what, str(error.filename or where), fix) from error


def _file_sizes(path: Path) -> Iterator[int]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _file_sizes(Path(entry.path))
                else:
                    yield entry.stat(follow_symlinks=False).st_size
    except OSError:
        return
