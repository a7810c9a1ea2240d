"""`--processes N`: run the same command once for each GPU of this machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from lowmed import processes
from lowmed.errors import SetupError

Processes = Annotated[
    int, typer.Option("--processes", min=1, help="Share the work among this many GPUs of this machine.")
]
GRACE = 20.0  # seconds between the failure of a process and the end of the others, which wait for it
ENDED = (0, 130)  # exit codes: finished, or stopped by a signal
LOST = 3  # exit code of a process that failed because another one did


def share_work(count: int) -> None:
    """Run this command in several processes instead of this one, unless this is one of them. The first of them prints.

    Args:
        count: number of processes; 1 for this one alone.

    Raises:
        typer.Exit: after all of them have ended.
        SetupError: the machine has fewer GPUs, but not none.
    """
    processes.take_part()
    if count > 1 and processes.size() == 1:
        raise typer.Exit(launch(count))
    if not processes.is_first():
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def launch(count: int) -> int:
    """Run this command in several processes until all have ended, and return the exit code.

    Signals are passed on to all of them, which stop after the present step. If one fails, the others are ended, and its
    error is printed.

    Args:
        count: number of processes.

    Raises:
        SetupError: the machine has fewer GPUs, but not none.
    """
    _require_gpus(count)
    errors: list[IO[str] | None] = [None, *(tempfile.TemporaryFile("w+") for _ in range(1, count))]  # noqa: SIM115
    shared = {
        processes.WORLD_SIZE: str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
    }
    command = [sys.executable, "-m", "lowmed", *sys.argv[1:]]
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, processes.RANK: str(rank), processes.LOCAL_RANK: str(rank)},
            stderr=errors[rank],
            stdout=None if rank == 0 else subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches them once, from here
        )
        for rank in range(count)
    ]

    def pass_on(number: int, _frame: Any) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    failed = None

    def kill_all() -> None:
        for process in started:
            process.kill()

    end_all = threading.Timer(GRACE, kill_all)
    with ThreadPoolExecutor(count) as pool:
        ranks = {pool.submit(process.wait): rank for rank, process in enumerate(started)}
        for done in as_completed(ranks):
            if done.result() not in ENDED and failed is None:
                failed = ranks[done]
                end_all.start()
    end_all.cancel()
    if failed is None:
        return started[0].returncode
    log = errors[failed]
    if log and started[0].returncode in (LOST, -signal.SIGKILL):
        log.seek(0)
        print(log.read(), end="", file=sys.stderr)
    code = started[failed].returncode
    if code < 0:
        name = signal.Signals(-code).name
        print(f"process {failed + 1} of {count} was ended by {name}", file=sys.stderr)
    return code if code > 0 else 1


def _require_gpus(count: int) -> None:
    import torch

    available, visible = torch.cuda.device_count(), os.environ.get(processes.VISIBLE)
    if 0 < available < count:
        raise SetupError(
            f"{count} processes need a GPU each, and there are {available}",
            "--processes" if visible is None else f"--processes and {processes.VISIBLE}={visible}",
            f"use --processes {available}",
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
