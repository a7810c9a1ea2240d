"""Runs the steps of gpu_first.sh one after the other, each in a process of its own, and stores their figures.

    python benchmarks/gpu_first.py MODEL_FOLDER --out FOLDER --work FOLDER [--budget SECONDS]

gpu_first_steps.py has the steps. This module imports neither lowmed nor its dependencies, so that a broken package ends
a step and not the series.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_first_table import brief, table

FORMAT = 1
MAX_BYTES = 1_000_000  # of the JSON file
ERROR_LINES, ERROR_WIDTH = 25, 300
LOG_BYTES = 200_000  # of each step in the log
POLL_S = 2.0  # between two looks at the figures of a running step
GRACE_S = 5.0  # between SIGTERM and SIGKILL
SKIPPED = 3  # exit status of a step that does not apply; its last line is the reason


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: key in the JSON file.
        limit_s: time after which it is killed.
        least_s: it is skipped if less time is left.
        command: the process; it writes its figures to the file named in the variable FIGURES.
    """

    name: str
    limit_s: int
    least_s: int
    command: Sequence[str]


LIMITS = {  # in order: name -> most and least seconds; a step is not started with less
    "doctor": (60, 0),
    "nano": (90, 0),
    "weights": (75, 0),
    "decode": (170, 60),
    "update": (150, 60),
    "dry-run": (130, 60),
    "tests": (80, 20),
    "precision": (90, 30),
    "attention": (60, 30),
    "update-same": (120, 60),
    "unsloth": (150, 80),
    "dry-run-sft": (90, 50),
    "test-runs": (150, 30),
    "dry-run-16bit": (130, 60),
}


def steps_for(model: str) -> list[Step]:
    """All steps, in order.

    Args:
        model: folder with the config, tokenizer and processor files of a model.
    """
    script = str(Path(__file__).with_name("gpu_first_steps.py"))
    return [
        Step(name, limit, least if has_gpu() else 0, (sys.executable, script, name, model))
        for name, (limit, least) in LIMITS.items()
    ]


def has_gpu() -> bool:
    """Whether a driver is installed. Without one the steps have a tiny form."""
    return shutil.which("nvidia-smi") is not None


class Series:
    """The steps of one series, and their stored results.

    Attributes:
        document: content of the JSON file.
    """

    def __init__(self, out: Path, work: Path, budget_s: float) -> None:
        self.path, self.log, self.work = out / "gpu_first.json", out / "gpu_first.log", work
        self.started, self.budget_s = time.monotonic(), budget_s
        switches = {name: value for name, value in os.environ.items() if name.startswith(("TORCH_", "PYTORCH_"))}
        self.document: dict[str, Any] = {
            "format": FORMAT,
            "started": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            "budget_s": budget_s,
            "switches": switches,
            "steps": {},
        }
        out.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self.store()

    def run(self, steps: Sequence[Step]) -> None:
        """Run all steps; the end of one, whatever it is, starts the next."""
        for step in steps:
            left = self.budget_s - (time.monotonic() - self.started)
            if left < max(1, step.least_s):
                self.document["steps"][step.name] = {"state": "skipped", "error": [f"only {max(0, left):.0f} s left"]}
            else:
                self.run_step(step, min(step.limit_s, left))
            self.store()

    def run_step(self, step: Step, limit_s: float) -> None:
        """Run one step and record its state, seconds, figures and the end of its output if it failed."""
        print(f"== {step.name} (at most {limit_s:.0f} s)", flush=True)
        figures, output = self.work / f"{step.name}.json", self.work / f"{step.name}.log"
        began, seen = time.monotonic(), None
        record = self.document["steps"][step.name] = {"state": "running", "limit_s": round(limit_s)}
        state = ""
        with output.open("wb") as sink:
            try:
                process = subprocess.Popen(
                    step.command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, cwd=self.work,
                    env=os.environ | {"FIGURES": str(figures)}, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                record |= {"state": "failed", "error": [str(error)]}
                return
        try:
            while not state:
                try:
                    code = process.wait(min(POLL_S, max(0.01, limit_s - (time.monotonic() - began))))
                    state = {0: "done", SKIPPED: "skipped"}.get(code, "failed")
                except subprocess.TimeoutExpired:
                    if time.monotonic() - began >= limit_s:
                        state = "killed"
                    elif (changed := _modified(figures)) != seen:  # a series that is killed now keeps these figures
                        seen = changed
                        record["figures"] = _read(figures)
                        self.store()
        finally:
            self.end(process)
            record |= {"state": state or "killed", "seconds": round(time.monotonic() - began, 1)}
            if (last := _read(figures)) is not None:
                record["figures"] = last
            if record["state"] != "done":
                lines = output.read_text(errors="replace").splitlines()
                kept = lines[-1:] if state == "skipped" else [line for line in lines if line.strip()][-ERROR_LINES:]
                record["error"] = [line[:ERROR_WIDTH] for line in kept]
            self._append_to_log(step.name, output)
        print(f"== {step.name}: {record['state']}, {record['seconds']} s  {brief(step.name, record)}", flush=True)

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """End a step and every process that it started."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)

    def store(self) -> None:
        """Write the JSON file; figures of the largest steps are left out of a file that would be too large."""
        document = json.loads(json.dumps(self.document, default=str))
        while len(text := json.dumps(document, indent=1)) >= MAX_BYTES:
            largest = max(document["steps"].values(), key=lambda record: len(json.dumps(record.get("figures"))))
            largest["figures"] = None
            largest["left_out"] = "the figures are too large"
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(text + "\n")
        temporary.replace(self.path)

    def _append_to_log(self, name: str, output: Path) -> None:
        with self.log.open("ab") as log:
            log.write(f"== {name}\n".encode() + output.read_bytes()[-LOG_BYTES:] + b"\n")


def _modified(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="scratch folder")
    parser.add_argument("--budget", type=float, default=560)
    options = parser.parse_args()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    series = Series(options.out, options.work, options.budget)
    try:
        series.run(steps_for(options.model))
    except KeyboardInterrupt:
        series.store()
        raise SystemExit(143) from None
    finally:
        print(table(series.document), flush=True)


if __name__ == "__main__":
    main()
