"""How a long command reports to its caller: a progress bar and lines of text, both optional."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int, str], None]  # called with the number of items done, and a note
Log = Callable[[str], None]
SECONDS_BETWEEN_LINES = 20.0  # where no bar is shown


class Progress(Protocol):
    """Opens a progress bar."""

    def __call__(self, label: str, total: int, start: int = 0) -> AbstractContextManager[Advance]:
        """A bar of `total` items of which `start` are done; yields the function that advances it."""


@contextmanager
def silent(label: str, total: int, start: int = 0) -> Iterator[Advance]:
    """No progress bar."""
    del label, total, start
    yield lambda _done, _note: None


def no_log(line: str) -> None:
    """Drop the line."""
    del line
