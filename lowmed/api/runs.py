"""List, show, compare, prune and remove runs, as `lowmed runs` does."""

from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed.errors import LowmedError, RunError

if TYPE_CHECKING:
    from lowmed.report.run_records import RunDetails, RunList, RunsComparison
    from lowmed.run_removal import Removal

AnyPath = str | PathLike[str]


def list_runs(folder: AnyPath | None = None) -> "RunList":
    """The runs in a folder, newest first. Folders that are not readable runs are listed with the reason.

    Args:
        folder: the folder of the runs; default `runs/`, which need not exist.

    Raises:
        RunError: the folder does not exist, or is itself a run.
    """
    from lowmed.report.run_records import RunList
    from lowmed.report.run_summary import list_folder
    from lowmed.run import FOLDER

    if folder is None and not Path(FOLDER).exists():
        return RunList(folder=FOLDER, runs=())
    return list_folder(Path(FOLDER if folder is None else folder))


def show_run(run: AnyPath) -> "RunDetails":
    """The important facts of one run; its evaluations as they are stored.

    Args:
        run: run directory.

    Raises:
        RunError: the run does not exist, or is damaged.
    """
    from lowmed.report.run_details import details
    from lowmed.run import open_run

    return details(open_run(fspath(run)))


def compare_runs(runs: Sequence[AnyPath]) -> "RunsComparison":
    """Several runs next to each other: differing recipe keys, progress and stored accuracies. No test.

    Args:
        runs: at least two run directories.

    Raises:
        RunError: a run does not exist, is damaged, or there are fewer than two.
    """
    from lowmed.report.run_details import comparison
    from lowmed.run import open_run

    opened = [open_run(fspath(run)) for run in runs]
    if len(opened) < 2:
        raise RunError("a comparison needs two runs", ", ".join(map(str, opened)), "name another run")
    return comparison(opened)


def prunable(runs: Iterable[AnyPath] = ()) -> "tuple[list[Removal], list[str]]":
    """The checkpoints that `prune_runs` removes, and why other runs keep theirs.

    Args:
        runs: run directories; none for all finished runs in `runs/`.

    Raises:
        RunError: a run that is named does not exist, is damaged, or is not finished.
    """
    from lowmed.run_removal import plan_prune

    named = [Path(run) for run in runs]
    if named:
        return [plan for plan in map(plan_prune, dict.fromkeys(named)) if plan.bytes], []
    plans, kept = [], []
    for row in list_runs().runs:
        if row.status == "finished":
            try:
                plan = plan_prune(Path(row.folder))
                plans += [plan] if plan.bytes else []
            except LowmedError as error:
                kept.append(f"{row.folder}: {error.what}")
        elif row.status != "other":
            kept.append(f"{row.folder}: it is {row.status}")
    return plans, kept


def prune_runs(runs: Iterable[AnyPath] = ()) -> "list[Removal]":
    """Remove the checkpoints of finished runs. Adapters, evaluations and records stay.

    Args:
        runs: run directories; none for all finished runs in `runs/`.

    Returns:
        What was removed.

    Raises:
        RunError: a run that is named does not exist, is damaged, or is not finished; nothing is removed then.
    """
    return perform(prunable(runs)[0])


def removable(runs: Iterable[AnyPath], *, force: bool = False) -> "list[Removal]":
    """The runs that `remove_runs` removes; arguments and errors are the same."""
    from lowmed.run_removal import plan_removal

    return plan_removal(map(Path, runs), force=force)


def remove_runs(runs: Iterable[AnyPath], *, force: bool = False) -> "list[Removal]":
    """Remove runs.

    Args:
        runs: run directories, or leftovers of interrupted removals.
        force: also remove damaged runs, and runs from whose adapter another run starts.

    Returns:
        What was removed.

    Raises:
        RunError: a folder is not a run, is running, or is needed by another run; nothing is removed then.
    """
    return perform(removable(runs, force=force))


def perform(plans: "list[Removal]") -> "list[Removal]":
    """Remove what was planned.

    Raises:
        RunError: another process uses a run, or a file cannot be removed. Earlier ones in the list are removed then.
    """
    from lowmed.run_removal import prune, remove

    for plan in plans:
        (prune if plan.what == "checkpoints" else remove)(plan)
    return plans
