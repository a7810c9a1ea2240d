"""Commands of lowmed that tests run: each in a fork of a server, which is like a new process without its imports."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import IO

from lowmed.engine import patches

# What tests in this process change in its environment without asking for it; the server imports under the same values.
OF_LIBRARIES = {
    *patches.ENVIRONMENT, "TRITON_INTERPRET", "PYTEST_CURRENT_TEST",
    # sklearn and torch's compiler set these while they are imported or used.
    "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR", "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR",
}  # fmt: skip
# lowmed reads them when it needs them. Nothing that the server imports does: the tests set HF_HOME.
READ_LATER = {"XDG_CACHE_HOME", "XDG_CONFIG_HOME"}


def imported_under() -> dict[str, str]:
    """The environment as far as a library might read it when it is imported."""
    return {name: value for name, value in os.environ.items() if name not in OF_LIBRARIES | READ_LATER}


def in_new_process(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would; it imports everything."""
    return subprocess.run(
        [sys.executable, "-m", "lowmed", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


class Started:
    """A command that runs in a fork, as far as possible like `subprocess.Popen`."""

    def __init__(
        self,
        server: socket.socket,
        folder: Path,
        arguments: tuple[str, ...],
        environment: dict[str, str],
        code: str | None = None,
    ):
        self.args = ["lowmed" if code is None else code, *arguments]
        self.returncode: int | None = None
        self.stdout: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.stderr: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._server = server
        command = {
            "arguments": arguments,
            "folder": str(folder),
            "path": str(folder),
            "environment": os.environ | environment,
        } | ({} if code is None else {"code": code})
        socket.send_fds(server, [dumps(command).encode()], [0, self.stdout.fileno(), self.stderr.fileno()])
        self.pid = self._answer()

    def _answer(self) -> int:
        answer = self._server.recv(100)
        if not answer:
            raise RuntimeError("the server of commands has ended")
        return int(answer)

    def poll(self) -> int | None:
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._server.settimeout(timeout)
            try:
                self.returncode = self._answer()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._server.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self) -> tuple[str, str]:
        self.wait()
        for stream in (self.stdout, self.stderr):
            stream.seek(0)
        with self.stdout, self.stderr:
            return self.stdout.read(), self.stderr.read()


class Commands:
    """Starts commands in forks of one server."""

    def __init__(self, address: str):
        self.address = address
        self.python = Path(address).with_name("python")  # sys.executable of the commands
        self._environment = imported_under()
        self._running: list[Started] = []

    def start(self, folder: Path, *arguments: str, code: str | None = None, **environment: str) -> Started:
        """Start the command in a folder, or Python code as `python -c` does."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self.address)
        self._running = [command for command in self._running if command.returncode is None]
        self._running.append(Started(connection, folder, arguments, environment, code))
        return self._running[-1]

    def run_script(self, folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script that does not import lowmed, where only torch, transformers and PEFT have been imported."""
        scripts = Path(self.address).with_name("scripts")
        if not scripts.exists():  # with a GPU
            command = [sys.executable, script, *arguments]
            return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(scripts))
        code = f"import runpy; runpy.run_path({script!r}, run_name='__main__')"
        started = Started(connection, folder, arguments, {}, code)
        out, errors = started.communicate()
        return subprocess.CompletedProcess(started.args, started.wait(), out, errors)

    def run(self, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a folder; in a new process if libraries might read another environment in it."""
        if environment.keys() - READ_LATER or imported_under() != self._environment:
            return in_new_process(folder, *arguments, **environment)
        started = self.start(folder, *arguments, **environment)
        out, errors = started.communicate()
        return subprocess.CompletedProcess(started.args, started.wait(), out, errors)

    def kill_running(self) -> None:
        """End what a failed test has left."""
        for command in self._running:
            command.send_signal(signal.SIGKILL)
        self._running = []


@contextmanager
def server(**environment: str) -> Iterator[Commands]:
    """A server for the commands of this process, which ends with it; it imports under these variables too."""
    with tempfile.TemporaryDirectory(prefix="lowmed-") as folder:
        address, python = f"{folder}/commands", Path(folder, "python")
        client = [sys.executable, "-IS", str(Path(__file__).with_name("fork_client.py")), address]
        python.write_text(f'#!/bin/sh\nexec {shlex.join(client)} "$@"\n')
        python.chmod(0o755)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(address)
            listener.listen()
            listening = listener.fileno()
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(listening), str(python)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=patches.ENVIRONMENT | {"TRITON_INTERPRET": "1"} | os.environ | environment,
                pass_fds=[listening],
            )
        with process:  # leaving it closes its stdin, which ends it
            yield Commands(address)
