"""The Python of a command that runs in a fork: `python -m lowmed` is a fork of the same server, too.

So is the script of lowmed that imports transformers and PEFT alone, of the process that has imported nothing else, and
the process of submitit that runs a command of lowmed. So are the steps of a benchmark.

It is to its parent what the command would be: it has its streams, passes signals on, and ends as it does. If it is
killed, the server kills the command.
"""

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

address, *arguments = sys.argv[1:]
scripts = Path(address).with_name("scripts")
is_script = arguments[:1] == ["-P"] and Path(arguments[1]).name == "peft_only.py" and scripts.exists()
is_job = arguments[:3] == ["-u", "-m", "submitit.core._submit"]
is_step = Path(arguments[0]).name == "gpu_first_steps.py"
if arguments[:2] != ["-m", "lowmed"] and not is_script and not is_job and not is_step:
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
signal.pthread_sigmask(signal.SIG_BLOCK, PASSED)  # until they can be passed on: the command may already run
folder = str(Path.cwd())
command: dict[str, Any] = {
    "arguments": arguments[2:],
    "folder": folder,
    "path": folder,
    "environment": dict(os.environ),
}
if is_script:
    run = f"import runpy; runpy.run_path({arguments[1]!r}, run_name='__main__')"
    command |= {"path": None, "code": run}
    address = str(scripts)
if is_step:
    run = f"import runpy; runpy.run_path({arguments[0]!r}, run_name='__main__')"
    command |= {"arguments": arguments[1:], "path": str(Path(arguments[0]).parent), "code": run}
if is_job:
    run = "import runpy; runpy.run_module('submitit.core._submit', run_name='__main__', alter_sys=True)"
    command |= {"arguments": arguments[3:], "code": run}
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect(address)
    socket.send_fds(server, [json.dumps(command).encode()], [0, 1, 2])
    pid = int(server.recv(100))

    def pass_on(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for passed in PASSED:
        if signal.getsignal(passed) != signal.SIG_IGN:
            signal.signal(passed, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED)
    code = int(server.recv(100))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
