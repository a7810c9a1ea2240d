"""A lock on a file. The kernel releases it when its process ends, however it ends."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from lowmed.files import utc_now

# What the kernel answers where the file system has no locks.
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
# `holder` holds a shared lock for an instant; whoever takes the lock then tries again.
_ATTEMPTS, _PAUSE = 20, 0.01
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # not through a link: the file is emptied
_held: set[int] = set()


class HeldError(Exception):
    """Another process holds the lock; the text names it."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file. While it is held, the file names this process; then it is empty.

    The lock belongs to this process. A process that it forks does not keep it alive.

    Args:
        path: the file; created if absent. It may be removed while the lock is held.
        wait: wait until no other process holds the lock.

    Raises:
        HeldError: another process holds the lock.
        OSError: the file cannot be written, or its file system has no locks.
    """
    descriptor = _take(path, wait)
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)
        with contextlib.suppress(OSError):  # the disk may be gone; closing releases the lock in any case
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """The process that holds the lock of a file, or None. Nothing is changed.

    Raises:
        OSError: the file cannot be read, or its file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _OPEN)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _name(descriptor)
    finally:
        os.close(descriptor)
    return None


def _take(path: Path, wait: bool) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _OPEN, 0o666)
        try:
            _lock(descriptor, wait)
            if _is_at(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()} {utc_now()}\n".encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed or renamed the file: lock the one that is there now


def _lock(descriptor: int, wait: bool) -> None:
    if wait:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_PAUSE)
    raise HeldError(_name(descriptor))


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _name(descriptor: int) -> str:
    """The process that the file names: its id and since when."""
    number, _, since = os.pread(descriptor, 100, 0).decode("ascii", "replace").strip().partition(" ")
    if not number.isdecimal():
        return "another process"
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return f"process {number} of another machine or container, since {since}"
    except PermissionError:
        return f"process {number} of another user, since {since}"
    return f"process {number}, since {since}"


def _close_in_child() -> None:
    """A forked process would keep the lock although the process that took it has ended."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
