"""Progress while answers of a judge are waited for, also while none arrives."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from typing import TypeVar

from lowmed import progress
from lowmed.judge.job import Job, JobEndedError

Result = TypeVar("Result")


def completed(futures: Iterable[Future[Result]], waiting: Callable[[], None]) -> Iterator[Future[Result]]:
    """Each future when it is done.

    Args:
        futures: the futures.
        waiting: called every few seconds until all are done, however many of them are.
    """
    left = set(futures)
    while left:
        try:
            for future in as_completed(left, progress.SECONDS_BETWEEN_LINES):
                left.remove(future)
                yield future
        except TimeoutError:  # of `as_completed`; those of a future are raised in the caller
            waiting()


def line(done: int, total: int, started: float, job: Job, counts: str) -> str | None:
    """What is known of a wait; None if its job is over, which has an error of its own.

    Args:
        done: queries with a verdict.
        total: all queries.
        started: `time.monotonic()` at the start.
        job: limits the wait.
        counts: requests sent, answered and failed.
    """
    try:
        most = job.left()
    except JobEndedError:
        return None
    seconds = time.monotonic() - started
    about = f"about {min(seconds / done * (total - done), most):.0f} s left, " if done else ""
    return f"judge   {done}/{total} verdicts  {seconds:.0f} s, {about}at most {most:.0f} s  {counts}"
