"""The deadline of a whole job with a server, however the server behaves."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator


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
        watched: list[socket.socket] = []

        def watch(opened: socket.socket) -> None:
            with self._lock:
                self._open.difference_update(watched)
                watched[:] = [opened]
                self._open.add(opened)
            if self._ended.is_set():
                _shut_down([opened])

        timer = threading.Timer(seconds, lambda: _shut_down(watched))
        timer.daemon = True
        timer.start()
        try:
            yield watch
        finally:
            timer.cancel()
            with self._lock:
                self._open.difference_update(watched)

    def end(self) -> None:
        """End all pauses and connections now."""
        self._ended.set()
        with self._lock:
            _shut_down(list(self._open))


def _shut_down(sockets: list[socket.socket]) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):  # closed already
            one.shutdown(socket.SHUT_RDWR)
