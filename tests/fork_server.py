"""A server that imports torch and the other libraries once, and runs each command of a test in a fork of itself.

It runs as a script; `commands.py` starts it and talks to it. A message has the arguments, the folder, the environment,
the first entry of `sys.path` and the three standard streams of a command, or of Python code as in `python -c`. The
answers are its process id and, when it has ended, its exit code. A command whose client is gone is killed.

Scripts that must not import lowmed are forks of a second process, which has imported torch, transformers and PEFT only.
"""

import atexit
import contextlib
import gc
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

LONGEST_MESSAGE = 2**20
OF_SCRIPTS = (
    "PIL.Image", "peft.tuners.lora.bnb", "torch", "transformers.integrations.bitsandbytes",
    "transformers.models.qwen2_vl.image_processing_qwen2_vl", "transformers.models.qwen2_vl.modeling_qwen2_vl",
    "transformers.models.qwen2_vl.video_processing_qwen2_vl",
)  # fmt: skip
LIBRARIES = (
    "lowmed.answer.verdict", "lowmed.api.bridge", "lowmed.api.check", "lowmed.api.compare", "lowmed.api.evaluate",
    "lowmed.api.extend", "lowmed.api.merge", "lowmed.api.prepare", "lowmed.api.probe", "lowmed.api.report",
    "lowmed.api.verify", "lowmed.engine.dev_evaluation", "lowmed.engine.dpo", "lowmed.engine.evaluator",
    "lowmed.engine.grpo", "lowmed.engine.kto", "lowmed.engine.sft", "lowmed.engine.tracking", "lowmed.engine.train",
    "lowmed.engine.transformers_backend", "lowmed.engine.vision.cache", "lowmed.report.eval_summary",
    "lowmed.report.page", "lowmed.report.run_data", "lowmed.rewards.check", "lowmed.ship.merge_job",
    "lowmed.ship.verify", "scipy.optimize", "scipy.stats", "trl.trainer.grpo_trainer", "trl.trainer.sft_trainer",
)  # fmt: skip


def import_libraries() -> socket.socket | None:
    """Import what commands import, with the settings under which they do. Returns in a fork before lowmed is imported.

    That fork serves scripts. It returns the socket for them.
    """
    # CUDA does not work in a fork of a process that has looked for a GPU, and imports look for it.
    if Path("/dev/nvidiactl").exists():
        import_module("lowmed.cli")
        return None
    logging.disable(logging.WARNING)  # of imports; lowmed is not there yet to silence them
    for name in OF_SCRIPTS:
        import_module(name)
    logging.disable(logging.NOTSET)
    scripts = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    scripts.bind(str(Path(sys.argv[2]).with_name("scripts")))
    scripts.listen()
    if os.fork() == 0:
        os.close(int(sys.argv[1]))  # if the server ends with an error, its clients must not wait for this process
        return scripts
    scripts.close()
    from lowmed.engine import device, patches

    device.silence_libraries()
    patches.interpret_triton()
    for name in LIBRARIES:
        import_module(name)
    fill_caches()
    import_module("lowmed.cli")
    return None


def fill_caches() -> None:
    """Compute what nearly every command would compute and keep: it depends on no argument."""
    from transformers import conversion_mapping

    from lowmed.data.load import load

    if compute := getattr(conversion_mapping, "get_checkpoint_conversion_mapping", None):  # not public
        compute("qwen2_vl")
    load("phantom")


def serve(listener: socket.socket) -> str | None:
    """Accept messages until the process of the tests has ended. Returns in the process of a command, with its code."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            message, streams, _, _ = socket.recv_fds(connection, LONGEST_MESSAGE, 3)
            if message:
                pid = os.fork()
                if pid == 0:
                    connection.close()
                    command: dict[str, Any] = json.loads(message)
                    become(command, streams)
                    code: str | None = command.get("code")
                    return code
                report(connection, pid, streams)
            os._exit(0)
        connection.close()


def report(connection: socket.socket, pid: int, streams: list[int]) -> NoReturn:
    """Send the process id, wait for the end of the command or of its client, send the exit code."""
    for stream in streams:
        os.close(stream)  # a reader of a pipe waits for all its writers
    connection.send(str(pid).encode())
    end = os.pidfd_open(pid)
    ready, _, _ = select.select([end, connection.fileno()], [], [])
    if end not in ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # nobody waits for it any more
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def become(command: dict[str, Any], streams: list[int]) -> None:
    """Turn this process into one that Python has just started for lowmed."""
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        of_server = getattr(sys, name)
        lines = 1 if name == "stderr" or os.isatty(number) else -1
        mode = "w" if number else "r"
        own = open(number, mode, lines, of_server.encoding, of_server.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, own)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    if command["path"] is None:
        del sys.path[0]
    else:
        sys.path[0] = command["path"]
    sys.executable = sys.argv[2]
    sys.argv = ["-c" if "code" in command else "lowmed", *command["arguments"]]
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # as a new process: from the entropy of the system


def run(program: str | None) -> int:
    """Run the command or the program and end as Python does, but let the kernel free the libraries: it is faster."""
    code: object = 0
    try:
        if program is None:
            runpy.run_module("lowmed", run_name="__main__", alter_sys=True)
        else:
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    assert isinstance(code, int)
    return code & 0xFF


if __name__ == "__main__":
    gc.disable()  # a collection would look at a million imported objects each time
    listener = import_libraries() or socket.socket(fileno=int(sys.argv[1]))
    gc.collect()
    gc.freeze()
    gc.enable()
    os._exit(run(serve(listener)))  # only the process of a command gets beyond `serve`
