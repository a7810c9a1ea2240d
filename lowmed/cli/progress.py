"""Progress on stderr: a bar on a terminal; a plain line now and then in a notebook, a file or a pipe."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lowmed import processes
from lowmed.progress import Advance, pause_between_lines
from lowmed.terminal import of_notebook, visible

_quiet = False


def be_quiet(quiet: bool) -> None:
    """Print only results and errors in this process."""
    global _quiet
    _quiet = quiet


def info(text: str = "") -> None:
    """Print a line on stderr, so that stdout holds only results."""
    if processes.is_first() and not _quiet:
        print(visible(text), file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: int, start: int = 0) -> Iterator[Advance]:
    """Show the progress of a long task; call the result with the number done and a note."""
    if not sys.stderr.isatty() or of_notebook() or not processes.is_first() or _quiet:
        yield _lines(label, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(visible(label), markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=start, note="")
        yield lambda done, note: bar.update(task, completed=done, note=visible(note))


def _lines(label: str, total: int) -> Advance:
    started = last = time.monotonic()
    first: tuple[int, float] | None = None  # the first item contains the loading of a model

    def advance(done: int, note: str) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = first or (done, now)
        if done < total and now - last < pause_between_lines(now - started):
            return
        last = now
        spent = f"{now - started:.0f} s"
        if first[0] < done < total:
            spent += f", {(now - first[1]) / (done - first[0]) * (total - done):.0f} s left"
        info(f"{label}  {done}/{total}  {spent}  {note}".rstrip())

    return advance
