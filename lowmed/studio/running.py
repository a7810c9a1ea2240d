"""The process that trains a run, wherever it was started, and what may run next to it."""

import re
from pathlib import Path

from lowmed import processes
from lowmed.errors import RunError
from lowmed.lock import holder
from lowmed.report.run_summary import list_folder
from lowmed.run import LOCK, RECORD, Run
from lowmed.studio.jobs import Jobs
from lowmed.studio.processes import holds, interrupt

_NUMBER = re.compile(r"[0-9]{1,10}(?= )")
_stopped: dict[Path, str] = {}  # run -> the content of its lock when a signal was sent


def process_of(run: Path) -> int | None:
    """The number of the process on this machine that trains a run; None if none does, or only elsewhere."""
    lock = run / LOCK
    try:
        if holder(lock) is None:
            return None
        match = _NUMBER.match(lock.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return int(match[0]) if match and holds(int(match[0]), lock) else None


def stop(run: Path) -> str:
    """Stop training as Ctrl-C would: after the present step, with a checkpoint.

    A second Ctrl-C would end it without one, so a process gets one signal only.

    Returns:
        What happens now.

    Raises:
        RunError: no process of this user on this machine trains the run.
    """
    status, reason = Run(run).status()
    if status != "running":
        raise RunError(f"the run is not running, it is {status}", str(run), "resume it, or choose another run")
    process, content = process_of(run), _content(run)
    if process is None:
        raise RunError(
            "the process that trains the run is not one of yours on this machine",
            f"{run}\n{reason}",
            "stop it where it was started; SIGTERM stops training with a checkpoint",
        )
    if _stopped.get(run) == content:
        return f"Process {process} is stopping: it ends after the present step, with a checkpoint."
    if not interrupt(process, run / LOCK):
        raise RunError("the process has ended", f"{run}\nprocess {process}", "look at its status again")
    _stopped[run] = content
    return f"Process {process} got the signal of Ctrl-C. It ends after the present step, with a checkpoint."


def running(folder: Path, jobs: Jobs) -> str:
    """The training that runs now, as text; "" for none."""
    for row in list_folder(folder).runs if folder.is_dir() else ():
        if row.status == "running" and (Path(row.folder) / RECORD).is_file():
            return row.folder
    return next((job.record.about for job in jobs.list(["train"]) if job.is_running), "")


def require_no_training(folder: Path, jobs: Jobs) -> None:
    """Refuse a second training: two would share the memory of one GPU.

    Raises:
        RunError: one runs.
    """
    if name := running(folder, jobs):
        raise RunError("another training is running", name, "wait until it ends, or stop it in the tab Runs")


def require_free_gpu(folder: Path, jobs: Jobs) -> None:
    """Refuse to load a model on a GPU on which a run is training: the run could end for lack of memory.

    Raises:
        RunError: one runs, and this machine has a GPU.
    """
    if processes.driver_present():
        require_no_training(folder, jobs)


def _content(run: Path) -> str:
    try:
        return (run / LOCK).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
