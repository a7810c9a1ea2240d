"""A command that is killed at any file operation, and again when it is repeated, ends as if it had never been killed.

A test kills at some of the operations; `LOWMED_KILL_ALL=1` kills at every one of them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data.made import jsonl, row, save_images

pytestmark = pytest.mark.slow
POINTS = 2  # operations at which a test kills, at equal distances
ALL = bool(os.environ.get("LOWMED_KILL_ALL"))

# Reads commands from a file, and runs each in a child process that may be killed at its N-th file operation inside a
# folder. The imports are shared, because they take longer than the commands.
RUNNER = """
import contextlib, io, json, os, shutil, signal, sys
from lowmed.cli import main
from lowmed.engine import dev_evaluation, evaluator, grpo, sft, train  # noqa: F401
from lowmed.ship import merge_job, verify  # noqa: F401
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.copyfile"}
job = json.load(open(sys.argv[1]))
folder = os.path.abspath(job["folder"])

def child(arguments, kill_at, report):
    count = 0
    def watch(event, details):
        nonlocal count
        if event in EVENTS and isinstance(details[0], (str, os.PathLike)):
            writes = event != "open" or (isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR))
            if writes and os.path.abspath(os.fspath(details[0])).startswith(folder):
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    sys.argv = ["lowmed", *arguments]
    code = 0
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            main()
    except SystemExit as end:
        code = end.code or 0
    text = f"{count} {code}\\n" + (out.getvalue()[-2000:] if code else "")
    with open(report, "w") as file:
        file.write(text)
    os._exit(0)

for number, (arguments, kill_at, before) in enumerate(job["commands"]):
    for path in before:
        shutil.rmtree(path, ignore_errors=True)
    pid = os.fork()
    if pid == 0:
        child(arguments, kill_at, f"{sys.argv[1]}.{number}")
    os.waitpid(pid, 0)
    if number in job["keep"]:
        shutil.copytree(job["out"], f"{job['out']}.{number}")
"""
Command = tuple[list[str], int, list[str]]


def run(place: Path, commands: list[Command], folder: Path, out: Path, keep: list[int]) -> list[str]:
    """The number of operations, the exit code and the output of each command; "" for a killed one."""
    job = place / "job.json"
    job.write_text(json.dumps({"commands": commands, "folder": str(folder), "out": str(out), "keep": keep}))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", RUNNER, str(job)], cwd=place, check=True, env=environment)
    reports = [Path(f"{job}.{number}") for number in range(len(commands))]
    texts = [report.read_text() if report.exists() else "" for report in reports]
    for report in reports:
        report.unlink(missing_ok=True)
    return texts


def killed_everywhere(
    place: Path, out: Path, first: list[str], again: list[str], content: Callable[[Path], Any]
) -> int:
    """Kill `first`, then `again`, at the same operations; repeat `again`; compare with an undisturbed run.

    Returns:
        The number of operations of an undisturbed run.
    """
    [report] = run(place, [(first, 0, [])], out.parent, out, [0])
    total, code = map(int, report.split("\n")[0].split())
    print(f"{total} operations")
    assert code == 0, report
    expected = content(Path(f"{out}.0"))
    points = range(1, total + 1)
    if not ALL:
        points = range(1, total + 1, -(-total // POINTS))
    commands: list[Command] = []
    for point in points:
        commands += [(first, point, [str(out)]), (again, max(1, point // 2), []), (again, 0, [])]
    keep = list(range(2, len(commands), 3))
    reports = run(place, commands, out.parent, out, keep)
    for point, number in zip(points, keep, strict=True):
        assert reports[number].split("\n")[0].split()[1:] == ["0"], f"killed at {point} of {total}: {reports[number]}"
        assert content(Path(f"{out}.{number}")) == expected, f"killed at {point} of {total}"
    return total


def every_byte(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_times(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / name).read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def test_prepare_killed_anywhere_gives_the_same_folder(tmp_path: Path) -> None:
    save_images(tmp_path / "in", *(f"{number}.png" for number in range(4)))
    jsonl(tmp_path / "in/t.jsonl", *(row(number, f"{number}.png") for number in range(4)))
    out = tmp_path / "work/out"
    out.parent.mkdir()
    command = ["data", "prepare", str(tmp_path / "in/t.jsonl"), "--out", str(out)]
    assert killed_everywhere(tmp_path, out, command, command, every_byte) > 10


def trained(folder: Path) -> Any:
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished"
    weights = (folder / "adapter/adapter_model.safetensors").read_bytes()
    return weights, without_times(folder, "metrics.jsonl")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            ["sft", "--recipe", "rarl-sft", "method.prompts_per_step=2"],
            marks=pytest.mark.skipif(not ALL, reason="test_dev_evaluation.py kills SFT"),
        ),
        ["grpo", "--recipe", "rl-plain", "method.prompts_per_step=2", "method.num_generations=2",
         "method.max_completion_length=8"],
    ],
)  # fmt: skip
def test_training_killed_anywhere_gives_the_same_adapter(tmp_path: Path, settings: list[str]) -> None:
    out = tmp_path / "work/run"
    out.parent.mkdir()
    command = [*settings, "--nano", "method.max_steps=3", "method.save_steps=1", "--out", str(out), "--resume", "auto"]
    assert killed_everywhere(tmp_path, out, command, command, trained) > 20
