"""Only the process that holds the file of a run or a job gets a signal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowmed.errors import RunError
from lowmed.lock import locked
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run
from lowmed.studio import processes, running
from lowmed.studio.jobs import Jobs

HOLD = """
import sys, signal
from pathlib import Path
from lowmed.lock import locked
with locked(Path(sys.argv[1])):
    try:
        print("held", flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(load_recipe("rarl", nano=True), "rarl-nano", out=str(tmp_path / "run"))


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """A process that has nothing to do with a run."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def echoes(process: subprocess.Popen[str]) -> bool:
    assert process.stdin
    assert process.stdout
    process.stdin.write("alive\n")
    process.stdin.flush()
    return process.stdout.readline() == "alive\n"


def test_the_process_that_holds_the_lock_is_stopped(run: Run) -> None:
    lock = run.folder / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        assert running.process_of(run.folder) == process.pid
        assert str(process.pid) in running.stop(run.folder)
        assert process.stdout.read() == "interrupted\n"
    assert running.process_of(run.folder) is None
    with pytest.raises(RunError, match="the run is not running, it is interrupted"):
        running.stop(run.folder)


def test_a_second_stop_of_the_same_process_sends_nothing(run: Run) -> None:
    lock = run.folder / "lock"
    handler = "signal.signal(signal.SIGINT, lambda *_: print('one', flush=True))\nwith locked"
    ignoring = HOLD.replace("with locked", handler)
    with subprocess.Popen([sys.executable, "-c", ignoring, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        assert "got the signal" in running.stop(run.folder)
        assert process.stdout.readline() == "one\n"
        assert "is stopping" in running.stop(run.folder)
        process.kill()
        assert process.stdout.read() == ""


@pytest.mark.parametrize(
    "text", ["{pid} 2026-01-01T00:00:00+00:00\n", "{pid}", "", "-1 x", "0 x", "1 x", "9" * 30 + " x"]
)
def test_a_lock_that_names_another_process_reaches_none(run: Run, other: "subprocess.Popen[str]", text: str) -> None:
    lock = run.folder / "lock"
    with locked(lock):
        lock.write_text(text.format(pid=other.pid))
        assert running.process_of(run.folder) is None
        with pytest.raises(RunError, match="is not one of yours on this machine"):
            running.stop(run.folder)
    assert echoes(other)


def test_the_number_of_a_killed_process_is_not_used_again(run: Run, other: "subprocess.Popen[str]") -> None:
    (run.folder / "lock").write_text(f"{other.pid} 2026-01-01T00:00:00+00:00\n")  # what SIGKILL leaves
    with pytest.raises(RunError, match="interrupted"):
        running.stop(run.folder)
    assert not processes.interrupt(other.pid, run.folder / "lock")
    assert echoes(other)


def test_a_process_that_ignores_ctrl_c_gets_sigterm(tmp_path: Path) -> None:
    output = tmp_path / "output"
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    process = processes.start([sys.executable, "-c", code], output)
    while b"ready" not in output.read_bytes():
        assert process.poll() is None
    assert processes.interrupt(process.pid, output)
    assert process.wait() == -signal.SIGTERM
    assert not processes.interrupt(process.pid, output)


def test_a_job_is_a_session_of_its_own_and_is_read_back_from_its_files(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "runs")
    job = jobs.start("check", "rarl", ["recipes"], ["recipes", "show", "no-such-recipe"])
    assert os.getsid(job.record.pid) == job.record.pid
    while (code := job.exit_code) is None:
        assert job.folder.is_dir()
    assert code == 2
    [read] = Jobs(tmp_path / "runs").list()
    assert not read.is_running
    assert read.record.command == "lowmed recipes\nlowmed recipes show no-such-recipe"
    assert "rarl-sft" in read.output()
    assert "there is no recipe `no-such-recipe`" in read.output()


def test_what_is_required_is_checked_before_a_job_starts(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "runs")

    def refuse() -> None:
        raise RunError("another training is running", "runs/a", "wait")

    with pytest.raises(RunError, match="another training"):
        jobs.start("train", "runs/b", ["recipes"], require=refuse)
    assert jobs.list() == []


def test_a_damaged_job_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / ".studio" / "x"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{")
    assert Jobs(tmp_path / "runs").list() == []
