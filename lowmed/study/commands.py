"""Runs commands of lowmed as processes of their own, and stops them gracefully."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from lowmed.progress import Log

KEPT_LINES = 40
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)


class Commands:
    """Runs one command of lowmed after the other. A signal to this process goes to the command that is running.

    Every command is a new process, as a user would start it. So it gets all memory of the GPU, a crash ends only its
    own run, and no trainer meets the changes that another one has left in a library.

    Attributes:
        stopped_by: name of the signal that came, or "".
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        self.stopped_by = ""
        self._process: subprocess.Popen[str] | None = None

    def run(self, label: str, arguments: Sequence[str]) -> tuple[int, str]:
        """Run a command until it ends.

        Args:
            label: starts each line of its progress.
            arguments: the command's words after `lowmed`.

        Returns:
            Its exit code, negative for a signal; and what it printed as an error, in one line.
        """
        environment = {name: value for name, value in os.environ.items() if name != "LOWMED_NANO"}
        library = ctypes.CDLL(None)

        def end_with_parent() -> None:
            if sys.platform == "linux":
                library.prctl(_PARENT_DEATH, signal.SIGTERM)

        lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lowmed", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # Ctrl-C of a terminal must reach it once, from here
            preexec_fn=end_with_parent,
        )
        with self._process as process:
            assert process.stderr
            if self.stopped_by:  # it came while the process was started
                process.send_signal(signal.SIGTERM)
            for line in filter(str.strip, process.stderr):
                lines.append(line.rstrip())
                self.log(f"{label}  {line.rstrip()}")
        self._process = None
        return process.returncode, _error(list(lines))

    @contextmanager
    def forward_signals(self) -> Iterator[None]:
        """Pass Ctrl-C, SIGTERM and SIGHUP on, after which training stops with a checkpoint; the second one as well."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python allows handlers in the main thread only
            return

        def forward(number: int, _frame: FrameType | None) -> None:
            self.stopped_by = signal.Signals(number).name
            if self._process and self._process.returncode is None:
                self._process.send_signal(number)

        before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {
            number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        handled = [number for number, handler in before.items() if handler != signal.SIG_IGN]
        for number in handled:
            signal.signal(number, forward)
        try:
            yield
        finally:
            for number in handled:
                signal.signal(number, before[number])


def _error(lines: list[str]) -> str:
    """The error of a command that failed: the first of its three lines, or the last line of all."""
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].strip()[:500]
