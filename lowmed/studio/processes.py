"""Processes that outlive the page: how one is started, recognized by a file that it holds open, and stopped."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


def start(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, which ends neither with this process nor with a terminal.

    Args:
        command: its words.
        output: a new file for all that it prints, which it holds open as long as it runs.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, start_new_session=True
        )
    finally:
        os.close(descriptor)


def holds(pid: int, file: Path) -> bool:
    """Whether a process of this user on this machine has a file open. A process that has ended holds none."""
    try:
        wanted = file.stat()
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    return any(_is(descriptor, wanted) for descriptor in descriptors)


def interrupt(pid: int, file: Path, *, group: bool = False) -> bool:
    """Send a process the signal of Ctrl-C, if it holds a file open; SIGTERM if it ignores Ctrl-C, as after `&`.

    The process is opened before it is recognized. So the signal cannot reach another one that gets the same number.

    Args:
        pid: its number.
        file: by which it is recognized.
        group: also its children, as a terminal does; only for the leader of a session.

    Returns:
        Whether a signal was sent.
    """
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not holds(pid, file):
            return False
        number = signal.SIGTERM if _ignores(pid, signal.SIGINT) else signal.SIGINT
        signal.pidfd_send_signal(process, 0)  # it is still the same process
        if group and os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            signal.pidfd_send_signal(process, number)
    except OSError:
        return False
    finally:
        os.close(process)
    return True


def main_memory_gib(pid: int) -> float | None:
    """The peak main memory of a process; None if it has ended."""
    text = _status(pid, "VmHWM")
    return int(text.split()[0]) / 2**20 if text else None


def _ignores(pid: int, number: signal.Signals) -> bool:
    mask = _status(pid, "SigIgn")
    return bool(mask) and bool(int(mask, 16) >> (number - 1) & 1)


def _status(pid: int, key: str) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:")), "")


def _is(descriptor: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(descriptor.stat(), wanted)
    except OSError:
        return False
