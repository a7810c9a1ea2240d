"""Compares a training step of lowmed with the same step of TRL: seconds and peak memory by phase.

    python benchmarks/update.py                          nano and a model of 64 million parameters, on a CPU
    python benchmarks/update.py --cells 'grpo/mid/256'   only the cells whose names start with this
    python benchmarks/update.py --model FOLDER           the model of a config folder with random weights, on a GPU
    python benchmarks/update.py --model FOLDER --against unsloth
    python benchmarks/update.py --list                   names of the cells
    python benchmarks/update.py --table                  only update the tables of docs/performance.md

Both sides run in separate processes and make steps in turn. The first pair is left out if there are more. On a GPU that
is too small for both, one side follows the other. Measured cells are stored in results/update-*.json and skipped, so
that an interrupted series resumes; --again measures them again. A failed cell is reported, and the others continue.
curve.py compares what both sides learn.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import update_table
from machine import RESULTS, about
from update_cell import Cell

from lowmed.files import write_json

SIDE = Path(__file__).parent / "update_side.py"
TOKENS = (64, 256, 1024)
GROUPS = (4, 8, 16)
# Steps for each number of image tokens. Where a step takes minutes there is one only, the first of its process.
CPU_UPDATES = {"nano": {64: 4, 256: 4, 1024: 2}, "mid": {64: 2, 256: 2, 1024: 1}}


class SideEndedError(RuntimeError):
    """A side ended before it had made all its steps."""


def cells(model: str | None, against: str) -> dict[str, Cell]:
    """Every cell by name, the quick ones first."""
    result: dict[str, Cell] = {}
    for name in [model] if model else ["nano", "mid"]:
        small = not model
        shown = Path(name).name if model else name
        for tokens in TOKENS:
            same = name == "nano" or (name == "mid" and tokens <= 256)  # a larger one takes many minutes
            others = [against, "trl-same"] if same else [against]
            common = {"model": name, "load_in": "16bit" if small else "4bit", "seed": 0, "against": others}
            updates = CPU_UPDATES[name][tokens] if small else 3
            for group in GROUPS:
                result[f"grpo/{shown}/{tokens}/{group}"] = common | {
                    "task": "grpo", "tokens": tokens, "group": group, "updates": updates,
                    "questions": 1 if name == "mid" else 2, "new_tokens": 64 if small else 128,
                }  # fmt: skip
            for task in ("sft", "dpo"):
                result[f"{task}/{shown}/{tokens}"] = common | {
                    "task": task, "tokens": tokens, "group": 0, "questions": 4 if name == "mid" else 8,
                    "updates": 2 * updates,  # two epochs over the same questions
                }  # fmt: skip
    if against == "unsloth":
        return {f"{name}/unsloth": cell for name, cell in result.items()}
    return dict(sorted(result.items(), key=lambda item: (item[1]["model"] == "mid", item[1]["tokens"])))


class Side:
    """The process of a side, killed at the end of the block."""

    def __init__(self, cell: Cell, name: str) -> None:
        command = [sys.executable, str(SIDE), json.dumps(cell), name]
        self.name = name
        self.folder = tempfile.TemporaryDirectory()
        environment = os.environ | {"TMPDIR": self.folder.name}  # a killed process does not clean up
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def read(self) -> dict[str, Any]:
        """Its next result.

        Raises:
            SideEndedError: the process has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SideEndedError(f"{self.name} ended with {self.process.wait()}; see its message above")
        result: dict[str, Any] = json.loads(line)
        return result

    def update(self) -> dict[str, Any]:
        """Make one more step.

        Raises:
            SideEndedError: the process has ended.
        """
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `read` then reports how it ended
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        return self.read()


def measure(cell: Cell, report: Callable[[dict[str, Any]], None] = lambda _result: None) -> dict[str, Any]:
    """Measure all sides of a cell, in turns if they fit on the GPU together.

    Args:
        cell: the settings.
        report: gets the result so far after each step of GRPO, of the sides that have made one.

    Raises:
        SideEndedError: one of them ended early.
    """
    names = ["lowmed", *cell["against"]]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    facts: dict[str, dict[str, Any]] = {}

    def result() -> dict[str, Any]:
        sides = {
            name: {"rest_gib": facts[name]["rest_gib"], **_summary(cell, made)} for name, made in rows.items() if made
        }
        return {"card": facts["lowmed"]["card"], "parameters": facts["lowmed"]["parameters"], "sides": sides}

    groups = [names] if _fits(len(names)) else [[name] for name in names]
    for group in groups:
        with contextlib.ExitStack() as stack:
            sides = {name: stack.enter_context(Side(cell, name)) for name in group}
            facts |= {name: side.read() for name, side in sides.items()}
            for _ in range(cell["updates"]):
                for name, side in sides.items():
                    rows[name].append(side.update())
                    if cell["task"] == "grpo":  # an epoch of the others has a figure at its end only
                        report(result())
    return result()


def written_model(model: str, where: Path) -> str:
    """A folder with random weights for the model of a config folder, for unsloth, which loads written weights only.

    Another process writes them, because unsloth must be imported first.
    """
    folder = where / Path(model).name
    subprocess.run([sys.executable, str(SIDE.with_name("update_cell.py")), model, str(folder)], check=True)
    return str(folder)


def _summary(cell: Cell, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if cell["task"] != "grpo":  # two epochs: first with new images, then with cached ones
        half = len(rows) // 2
        passes = rows[1:half] or rows[:half], rows[half:]  # without the first step, if there are more
        epochs = [half * statistics.median(row["seconds"]["all"] for row in of_pass) for of_pass in passes]
        return {"epoch_s": epochs, "peak_gib": {"all": max(row["peak_gib"]["all"] for row in rows)}}
    timed = rows[1:] or rows
    return {
        "completion_tokens": [row["completion_tokens"] for row in timed],
        **{
            part: {name: statistics.median(row[part].get(name, 0.0) for row in timed) for name in timed[0][part]}
            for part in ("seconds", "peak_gib")
        },
    }


def _fits(sides: int) -> bool:
    import torch

    return not torch.cuda.is_available() or torch.cuda.get_device_properties(0).total_memory > sides * 40 * 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="")
    parser.add_argument("--model")
    parser.add_argument("--against", choices=["trl", "unsloth"], default="trl")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, help="folder of the results; default benchmarks/results")
    options = parser.parse_args()
    selected = {
        name: cell for name, cell in cells(options.model, options.against).items() if name.startswith(options.cells)
    }
    if options.list:
        print(*selected, sep="\n")
        return
    path = (options.out or RESULTS) / f"update-{'gpu' if options.model else 'cpu'}.json"
    if options.model and options.against == "unsloth" and not options.table:
        temporary = tempfile.TemporaryDirectory()
        written = written_model(options.model, Path(temporary.name))
        for cell in selected.values():
            cell["model"] = written
    stored: dict[str, Any] = json.loads(path.read_text())["cells"] if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, cell in {} if options.table else selected.items():
        if name in stored and not options.again:
            continue
        try:
            result = measure(cell)
        except SideEndedError as error:
            failed.append(name)
            print(f"{name}  {error}", flush=True)
            continue
        stored[name] = {"machine": about(), "settings": cell | {"model": name.split("/")[1]}, **result}
        write_json(path, {"cells": stored})
        print(update_table.line(name, stored[name]), flush=True)
    if not options.out:
        update_table.write()
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
