"""Progress: a bar on a terminal, and a few plain lines where the output is stored."""

import os
import pty
import subprocess
import sys

import pytest

from lowmed.progress import pause_between_lines

TASK = """
from lowmed.cli.progress import progress
with progress("eval", 4000) as advance:
    for done in range(1, 4001):
        advance(done, "accuracy 0.5")
"""
KERNELS = {
    "Jupyter": {"JPY_PARENT_PID": "17"},
    "Colab, Kaggle and VS Code": {"TERM": "xterm-color", "GIT_PAGER": "cat", "PAGER": "cat", "FORCE_COLOR": "1"},
}


def shown(environment: dict[str, str], *, terminal: bool) -> bytes:
    """What a process writes to a pseudo-terminal, as IPython opens one for a line with `!`, or to a pipe."""
    reading, writing = pty.openpty() if terminal else os.pipe()
    clean = {name: value for name, value in os.environ.items() if name not in ("JPY_PARENT_PID", "GIT_PAGER")}
    process = subprocess.Popen([sys.executable, "-c", TASK], env=clean | environment, stdout=writing, stderr=writing)
    os.close(writing)
    result = b""
    with process:
        while True:
            try:
                part = os.read(reading, 65536)
            except OSError:  # the end of a pseudo-terminal
                break
            if not part:
                break
            result += part
    os.close(reading)
    assert process.returncode == 0
    return result


@pytest.mark.parametrize("terminal", [True, False], ids=["pty", "pipe"])
@pytest.mark.parametrize("environment", KERNELS.values(), ids=KERNELS)
def test_a_notebook_gets_few_lines_and_no_rewritten_one(environment: dict[str, str], terminal: bool) -> None:
    text = shown(environment, terminal=terminal).replace(b"\r\n", b"\n")
    assert b"\r" not in text
    assert b"\x1b" not in text
    lines = text.splitlines()
    assert lines[-1].startswith(b"eval  4000/4000")
    assert len(lines) < 20


def test_a_terminal_gets_a_bar() -> None:
    assert b"\x1b[" in shown({"TERM": "xterm-256color"}, terminal=True)


def test_lines_become_rarer() -> None:
    at, lines = 0.0, 0
    while at < 3600:
        at += pause_between_lines(at)
        lines += 1
    assert 60 < lines < 100
    assert pause_between_lines(0) >= 1
