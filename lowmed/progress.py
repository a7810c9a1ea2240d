"""How a long command reports to its caller: a progress bar and lines of text, both optional."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int, str], None]  # called with the number of items done, and a note
Log = Callable[[str], None]
SECONDS_BETWEEN_LINES = 20.0  # while a server is waited for
SHORTEST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds between lines of progress where no bar is shown


class Progress(Protocol):
    """Opens a progress bar."""

    def __call__(self, label: str, total: int, start: int = 0) -> AbstractContextManager[Advance]:
        """A bar of `total` items of which `start` are done; yields the function that advances it."""


def pause_between_lines(elapsed: float) -> float:
    """Seconds from one line of progress to the next where no bar is shown: often at first, then once a minute.

    An hour gives about 80 lines, because a log, a job and a notebook keep every one of them.

    Args:
        elapsed: seconds since the start of the task.
    """
    return min(max(SHORTEST_PAUSE, elapsed / 5), LONGEST_PAUSE)


@contextmanager
def silent(label: str, total: int, start: int = 0) -> Iterator[Advance]:
    """No progress bar."""
    del label, total, start
    yield lambda _done, _note: None


def no_log(line: str) -> None:
    """Drop the line."""
    del line
