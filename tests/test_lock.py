"""The lock of a file: held by one process, released by the kernel, never in the way of a dead process."""

import errno
import fcntl
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lowmed.errors import RunError
from lowmed.lock import HeldError, holder, locked
from lowmed.recipe.io import load_recipe
from lowmed.run import create_run

HOLD = """
import sys
from pathlib import Path
from lowmed.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_AND_FORK = """
import os, sys
from pathlib import Path
from lowmed.lock import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:
        print("held", flush=True)
    sys.stdin.read()
"""
WAIT = """
import sys
from pathlib import Path
from lowmed.lock import holder, locked
path = Path(sys.argv[1])
print("waits", flush=True)
with locked(path, wait=True):
    print("held" if holder(path) else "another file is locked", flush=True)
"""
LOOK = """
import sys
from pathlib import Path
from lowmed.lock import holder
print("looks", flush=True)
while True:
    holder(Path(sys.argv[1]))
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a script on a lock file, after its first line of output."""
    with ExitStack() as stack:

        def started(script: str, path: Path, first: str = "held") -> "subprocess.Popen[str]":
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(process.kill)
            assert line(process) == first
            return process

        yield started


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 60)[0], "no output in a minute"
    return process.stdout.readline().strip()


def test_a_second_process_gets_an_error_that_names_the_first(tmp_path: Path, start: Start) -> None:
    first = start(HOLD, tmp_path / "lock")
    before = (tmp_path / "lock").read_bytes(), (tmp_path / "lock").stat().st_mtime_ns
    with pytest.raises(HeldError, match=rf"^process {first.pid}, since 2\d\d\d-"), locked(tmp_path / "lock"):
        pass
    assert (holder(tmp_path / "lock") or "").startswith(f"process {first.pid}, since")
    assert before == ((tmp_path / "lock").read_bytes(), (tmp_path / "lock").stat().st_mtime_ns)
    first.communicate()
    assert first.returncode == 0
    assert (tmp_path / "lock").read_bytes() == b""
    with locked(tmp_path / "lock"):
        assert (holder(tmp_path / "lock") or "").startswith(f"process {os.getpid()},")
    assert holder(tmp_path / "lock") is None


def test_a_killed_process_holds_nothing(tmp_path: Path, start: Start) -> None:
    first = start(HOLD, tmp_path / "lock")
    first.kill()
    first.wait()
    assert (tmp_path / "lock").read_text().startswith(str(first.pid))  # a leftover text is not a lock
    assert holder(tmp_path / "lock") is None
    with locked(tmp_path / "lock"):
        pass


def test_a_child_that_outlives_its_killed_parent_holds_nothing(tmp_path: Path, start: Start) -> None:
    parent = start(HOLD_AND_FORK, tmp_path / "lock")  # the child wrote the line, and now waits for input
    assert holder(tmp_path / "lock")
    parent.kill()
    parent.wait()
    assert parent.stdout is not None
    assert not select.select([parent.stdout], [], [], 0)[0], "the child must still run, or this test shows nothing"
    assert holder(tmp_path / "lock") is None


def test_a_waiting_process_gets_the_lock_when_it_is_free(tmp_path: Path, start: Start) -> None:
    with locked(tmp_path / "lock"):
        waiting = start(WAIT, tmp_path / "lock", "waits")
        assert waiting.poll() is None
    assert line(waiting) == "held"


def test_a_process_that_waited_for_a_removed_file_locks_the_new_one(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "lock"
    with locked(path):
        waiting = start(WAIT, path, "waits")
        while f" {waiting.pid} " not in Path("/proc/locks").read_text():  # until the kernel lists it as waiting
            assert waiting.poll() is None
        path.unlink()
        with locked(path):  # another file of that name: both can be locked
            pass
    assert line(waiting) == "held"


def test_a_copy_of_a_locked_folder_is_not_locked(tmp_path: Path, start: Start) -> None:
    (tmp_path / "run").mkdir()
    start(HOLD, tmp_path / "run" / "lock")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert holder(tmp_path / "run" / "lock")
    assert holder(tmp_path / "copy" / "lock") is None
    with locked(tmp_path / "copy" / "lock"):
        pass


def test_a_lock_of_another_machine_or_with_another_text_is_described(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for text, name in (("99999999999 2026-01-01", "another machine or container"), ("garbage \xff", "another process")):
        path.write_text(text)
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert name in (holder(path) or "")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "lock").symlink_to("thesis.txt")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_look_at_the_lock_never_makes_a_resume_fail(tmp_path: Path, start: Start) -> None:
    """`holder` holds a shared lock for an instant."""
    (tmp_path / "lock").touch()
    start(LOOK, tmp_path / "lock", "looks")
    for _ in range(20_000):
        with locked(tmp_path / "lock"):
            pass


def test_the_lock_of_a_removed_run_says_that_it_does_not_exist(tmp_path: Path) -> None:
    run = create_run(load_recipe("rarl", nano=True), "rarl-nano", out=str(tmp_path / "run"))
    shutil.rmtree(run.folder)
    with pytest.raises(RunError, match="the run does not exist"), run.lock():
        pass


def test_a_file_system_without_locks_does_not_prevent_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the kernel's answer is replaced: no such file system can be mounted here."""

    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    run = create_run(load_recipe("rarl", nano=True), "rarl-nano", out=str(tmp_path / "run"))
    monkeypatch.setattr(fcntl, "flock", without_locks)
    with run.lock() as held:
        assert not held
    status, reason = run.status()
    assert status == "running"
    assert "may have been interrupted" in reason
