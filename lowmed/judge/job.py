"""The deadline of a whole job with a server, however the server behaves."""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


class JobEndedError(Exception):
    """The time of the whole job is over, or the job was ended."""


class Job:
    """All requests of one job: none of them, and no pause between them, lasts longer than the job. Thread-safe.

    Args:
        seconds: what the job may take, from now on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._limits: list[_Limit] = []  # of the tries in progress; one thread watches all of them
        self._changed = threading.Condition(self._lock)
        self._wakes_at = math.inf
        self._is_watched = False

    def left(self) -> float:
        """The seconds that are left.

        Raises:
            JobEndedError: none.
        """
        left = self._deadline - time.monotonic()
        if left <= 0 or self._ended.is_set():
            raise JobEndedError(f"not done after {self.seconds:g} s")
        return left

    def pause(self, seconds: float) -> None:
        """Wait before the next try.

        Raises:
            JobEndedError: the job ends before; then nothing is waited for.
        """
        if seconds >= self.left() or self._ended.wait(seconds):
            raise JobEndedError(f"not done after {self.seconds:g} s")

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[Callable[[socket.socket], None]]:
        """Shut down the connection of one try at its end, also if its server sends a byte a second for ever.

        Args:
            seconds: what the try may take.

        Yields:
            A function that gets the socket of the try; a later one replaces it.
        """
        limit = _Limit(time.monotonic() + seconds)

        def watch(opened: socket.socket) -> None:
            with self._lock:
                self._open.difference_update(limit.sockets)
                limit.sockets[:] = [opened]
                self._open.add(opened)
            if self._ended.is_set():
                _shut_down([opened])

        with self._changed:
            self._limits.append(limit)
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch_limits, daemon=True).start()
            elif limit.end < self._wakes_at:
                self._changed.notify()
        try:
            yield watch
        finally:
            with self._changed:
                self._open.difference_update(limit.sockets)
                if limit in self._limits:
                    self._limits.remove(limit)
                if not self._limits:
                    self._changed.notify()

    def _watch_limits(self) -> None:
        with self._changed:
            while self._limits:
                now = time.monotonic()
                for limit in [limit for limit in self._limits if limit.end <= now]:
                    self._limits.remove(limit)
                    _shut_down(limit.sockets)
                if self._limits:
                    self._wakes_at = min(limit.end for limit in self._limits)
                    self._changed.wait(self._wakes_at - now)
            self._is_watched = False

    def end(self) -> None:
        """End all pauses and connections now."""
        self._ended.set()
        with self._lock:
            _shut_down(list(self._open))


@dataclass(eq=False)
class _Limit:
    """The end of a try in `time.monotonic()`, and its socket once it has one."""

    end: float
    sockets: list[socket.socket] = field(default_factory=list)


def _shut_down(sockets: list[socket.socket]) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):  # closed already
            one.shutdown(socket.SHUT_RDWR)
