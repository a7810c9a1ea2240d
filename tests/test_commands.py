"""A command in a fork of the server of commands is to its user what it is in a new process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Commands
from conftest import Lowmed, Start


@pytest.mark.parametrize(
    "arguments",
    [["--version"], [], ["--help"], ["grpo", "--recipe", "ralr"], ["check", "--recipe", "rl-plain", "--nano"]],
    ids=str,
)
def test_output_and_exit_code_are_those_of_a_new_process(
    arguments: list[str], lowmed: Lowmed, new_process: Lowmed
) -> None:
    forked, new = lowmed(*arguments), new_process(*arguments)
    assert (forked.returncode, forked.stdout, forked.stderr) == (new.returncode, new.stdout, new.stderr)


REWARD = """
import os, sys, numpy, random, pathlib
def score(sample, completion): return 1.0
pathlib.Path("seen").write_text(repr((os.getcwd(), sys.path[0], os.environ.get("GIVEN"), "trl" in sys.modules)))
with open("drawn", "a") as file:
    print(numpy.random.random(), random.random(), file=file)
if pathlib.Path("end").exists():
    exec(compile(pathlib.Path("end").read_text(), "end", "exec"))
"""


@pytest.fixture
def reward(tmp_path: Path, lowmed: Lowmed) -> list[str]:
    """A command that runs code of the folder."""
    (tmp_path / "mine.py").write_text(REWARD)
    assert lowmed("rewards", "trust", "mine.py", "--yes").returncode == 0
    return ["check", "--recipe", "rl-plain", "--nano", "method.rewards=[{name: 'mine.py:score'}]"]


def seen(folder: Path) -> list[object]:
    return list(eval((folder / "seen").read_text()))  # noqa: S307


def test_a_command_has_the_folder_the_environment_and_draws_of_its_own(
    reward: list[str], lowmed: Lowmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        lowmed(*reward)
    assert seen(tmp_path)[:3] == [str(tmp_path), str(tmp_path), None]
    lowmed(*reward, GIVEN="as argument")
    assert seen(tmp_path)[2:] == ["as argument", False]
    monkeypatch.setenv("GIVEN", "of the test")
    lowmed(*reward)
    assert seen(tmp_path)[2:] == ["of the test", False]
    drawn = (tmp_path / "drawn").read_text().split()
    assert len(drawn) == len(set(drawn)) == 8


AT_EXIT = (
    "import threading, atexit; atexit.register(print, 'at exit', file=sys.stderr); "
    "threading.Thread(target=lambda: (threading.main_thread().join(), print('a thread', file=sys.stderr))).start()"
)


@pytest.mark.parametrize(
    ("end", "code", "text"),
    [
        ("os.kill(os.getpid(), 9)", -9, ""),
        ("sys.exit(300)", 300 & 0xFF, ""),
        ("sys.exit('a text')", 1, "a text"),
        (f"{AT_EXIT}; sys.exit(0)", 0, "a thread\nat exit"),
    ],
)  # fmt: skip
def test_every_end_is_reported(
    end: str, code: int, text: str, reward: list[str], lowmed: Lowmed, new_process: Lowmed, tmp_path: Path
) -> None:
    (tmp_path / "end").write_text(end)
    forked, new = lowmed(*reward), new_process(*reward)
    assert forked.returncode == new.returncode == code
    assert text in forked.stderr
    assert forked.stderr == new.stderr


def test_a_started_command_has_an_output_and_ends_once(start: Start) -> None:
    process = start("judge", "calibrate", "missing.jsonl", "--judge-url", "http://127.0.0.1:9/v1", "--judge-model", "m")
    assert process.wait() == 2
    assert "the file does not exist" in process.communicate()[1]
    process.send_signal(signal.SIGKILL)  # has ended: nothing happens
    assert process.poll() == 2


def test_a_command_that_a_command_starts_is_to_it_what_it_is_in_a_new_process(
    reward: list[str], lowmed: Lowmed, new_process: Lowmed, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "end").write_text(
        "import subprocess; one = subprocess.run([sys.executable, '-m', 'lowmed', 'check', '--recipe', 'ralr'], "
        "cwd='in', env=os.environ | {'GIVEN': '1'}, capture_output=True, text=True); "
        "sys.exit(repr((one.returncode, one.stdout, one.stderr)))"
    )
    forked, new = lowmed(*reward), new_process(*reward)
    assert "ralr" in forked.stderr
    assert (forked.returncode, forked.stderr) == (new.returncode, new.stderr)


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", -15), ("SIGINT", 130), ("SIGKILL", -9)])
def test_a_signal_reaches_the_command_that_a_command_starts(
    number: str, code: int, reward: list[str], lowmed: Lowmed, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "mine.py").write_text((tmp_path / "mine.py").read_text())
    (tmp_path / "in" / "end").write_text("print(os.getpid(), flush=True); import signal; signal.pause()")
    (tmp_path / "end").write_text(
        "import signal, subprocess\n"
        f"one = subprocess.Popen([sys.executable, '-m', 'lowmed', *{reward}], cwd='in', stdout=-1, text=True)\n"
        "pid = int(one.stdout.readline())\n"
        f"one.send_signal(signal.{number})\n"
        "one.stdout.read()\n"  # until the command has ended
        "sys.exit(repr((one.wait(), os.path.exists(f'/proc/{pid}/exe'))))"
    )
    assert lowmed(*reward).stderr.strip() == repr((code, False))


def test_code_runs_as_a_script_with_the_libraries(commands: Commands, tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ['GIVEN'], 'trl' in sys.modules); sys.exit(3)"
    started = commands.start(tmp_path, "a", code=code, GIVEN="1")
    printed, errors = started.communicate()
    assert (started.wait(), errors) == (3, "")
    assert printed == f"['-c', 'a'] {tmp_path} 1 {not Path('/dev/nvidiactl').exists()}\n"


def test_a_script_runs_where_lowmed_is_not_imported(commands: Commands, tmp_path: Path) -> None:
    text = "import os, sys; print(sys.argv, os.getcwd(), __name__, 'lowmed' in sys.modules, 'trl' in sys.modules)"
    (tmp_path / "one.py").write_text(text)
    done = commands.run_script(tmp_path, str(tmp_path / "one.py"), "a")
    new = subprocess.run(
        [sys.executable, tmp_path / "one.py", "a"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, new.stdout, new.stderr)
    assert done.stdout.endswith("__main__ False False\n")


def test_the_script_that_a_command_starts_runs_without_lowmed(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "peft_only.py").write_text("import sys; print(sys.argv[1:], sys.path[0], 'lowmed' in sys.modules)")
    code = "import subprocess; sys.exit(subprocess.run([sys.executable, '-P', 'peft_only.py', 'a']).returncode)"
    started = commands.start(tmp_path, code=f"import sys; {code}")
    printed, errors = started.communicate()
    new = subprocess.run(
        [sys.executable, "-P", "peft_only.py", "a"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (started.wait(), printed, errors) == (0, new.stdout, new.stderr)
