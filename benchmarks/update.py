"""One update of lowmed against the same update of plain TRL: seconds and peak memory by phase.

    python benchmarks/update.py                          nano and a model of 64 million parameters, here
    python benchmarks/update.py --cells 'grpo/mid/256'   only the cells whose name begins so
    python benchmarks/update.py --model FOLDER           the model of a config folder with random weights, on a card
    python benchmarks/update.py --model FOLDER --against unsloth
    python benchmarks/update.py --list                   names of the cells
    python benchmarks/update.py --table                  only write the tables of docs/performance.md anew

Both sides stand ready in processes of their own and make an update each in turn; the first pair is left out where more
follow. On a card too small for both, one follows the other. A cell that was measured stays in results/update-*.json and
is not measured again without --again, so that a series which was cut off goes on where it was; one that fails is told,
and the others go on. Whether both sides learn the same is asked by curve.py.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import update_table
from machine import RESULTS, about
from update_cell import Cell

from lowmed.files import write_json

SIDE = Path(__file__).parent / "update_side.py"
TOKENS = (64, 256, 1024)
GROUPS = (4, 8, 16)
# Many where they take seconds; where they take minutes one, which is then the process's first.
CPU_UPDATES = {"nano": {64: 4, 256: 4, 1024: 2}, "mid": {64: 2, 256: 2, 1024: 1}}


class SideEndedError(RuntimeError):
    """A side ended before it had made its updates."""


def cells(model: str | None, against: str) -> dict[str, Cell]:
    """Every cell by name, the quick ones first."""
    result: dict[str, Cell] = {}
    for name in [model] if model else ["nano", "mid"]:
        small = not model
        shown = Path(name).name if model else name
        others = [against, "trl-same"] if name == "nano" else [against]
        common = {"model": name, "load_in": "16bit" if small else "4bit", "seed": 0, "against": others}
        for tokens in TOKENS:
            updates = CPU_UPDATES[name][tokens] if small else 3
            for group in GROUPS:
                result[f"grpo/{shown}/{tokens}/{group}"] = common | {
                    "task": "grpo", "tokens": tokens, "group": group, "updates": updates,
                    "questions": 1 if name == "mid" else 2, "new_tokens": 64 if small else 128,
                }  # fmt: skip
            result[f"sft/{shown}/{tokens}"] = common | {
                "task": "sft", "tokens": tokens, "group": 0, "questions": 4 if name == "mid" else 8,
                "updates": 2 * updates,  # two passes over the same questions
            }  # fmt: skip
    if against == "unsloth":
        return {f"{name}/unsloth": cell for name, cell in result.items()}
    return dict(sorted(result.items(), key=lambda item: (item[1]["model"] == "mid", item[1]["tokens"])))


class Side:
    """One side's process, ended with the block that holds it."""

    def __init__(self, cell: Cell, name: str) -> None:
        command = [sys.executable, str(SIDE), json.dumps(cell), name]
        self.name = name
        self.folder = tempfile.TemporaryDirectory()
        here = os.environ | {"TMPDIR": self.folder.name}  # it is killed, and clears up nothing
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=here)

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def read(self) -> dict[str, Any]:
        """What it says next.

        Raises:
            SideEndedError: it has ended instead.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SideEndedError(f"{self.name} ended with {self.process.wait()}; its message stands above")
        result: dict[str, Any] = json.loads(line)
        return result

    def update(self) -> dict[str, Any]:
        """Make one more.

        Raises:
            SideEndedError: it has ended instead.
        """
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # reading then says what it ended with
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        return self.read()


def measure(cell: Cell) -> dict[str, Any]:
    """Both sides of a cell, in turns where they fit together.

    Raises:
        SideEndedError: one of them ended early.
    """
    names = ["lowmed", *cell["against"]]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    facts: dict[str, dict[str, Any]] = {}
    together = [names] if _room_for(len(names)) else [[name] for name in names]
    for some in together:
        with contextlib.ExitStack() as held:
            sides = {name: held.enter_context(Side(cell, name)) for name in some}
            facts |= {name: side.read() for name, side in sides.items()}
            for _ in range(cell["updates"]):
                for name, side in sides.items():
                    rows[name].append(side.update())
    result = {name: {"rest_gib": facts[name]["rest_gib"], **_summary(cell, rows[name])} for name in names}
    return {"card": facts["lowmed"]["card"], "parameters": facts["lowmed"]["parameters"], "sides": result}


def _summary(cell: Cell, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if cell["task"] == "sft":  # two passes over the same questions: images unknown, then known
        half = len(rows) // 2
        passes = rows[1:half] or rows[:half], rows[half:]  # without the very first update, where others follow
        epochs = [half * statistics.median(row["seconds"]["all"] for row in some) for some in passes]
        return {"epoch_s": epochs, "peak_gib": {"all": max(row["peak_gib"]["all"] for row in rows)}}
    timed = rows[1:] or rows
    return {
        "reply_tokens": [row["reply_tokens"] for row in timed],
        **{
            part: {name: statistics.median(row[part].get(name, 0.0) for row in timed) for name in timed[0][part]}
            for part in ("seconds", "peak_gib")
        },
    }


def _room_for(sides: int) -> bool:
    import torch

    return not torch.cuda.is_available() or torch.cuda.get_device_properties(0).total_memory > sides * 40 * 2**30


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--cells", default="")
    asked.add_argument("--model")
    asked.add_argument("--against", choices=["trl", "unsloth"], default="trl")
    asked.add_argument("--again", action="store_true")
    asked.add_argument("--list", action="store_true")
    asked.add_argument("--table", action="store_true")
    asked.add_argument("--out", type=Path, help="where the figures go; default benchmarks/results")
    given = asked.parse_args()
    chosen = {name: cell for name, cell in cells(given.model, given.against).items() if name.startswith(given.cells)}
    if given.list:
        print(*chosen, sep="\n")
        return
    path = (given.out or RESULTS) / f"update-{'gpu' if given.model else 'cpu'}.json"
    if given.model and given.against == "unsloth" and not (given.list or given.table):
        drawn = tempfile.TemporaryDirectory()  # unsloth must be imported first, so that others write the weights
        folder = Path(drawn.name) / Path(given.model).name
        subprocess.run([sys.executable, str(SIDE.with_name("update_cell.py")), given.model, str(folder)], check=True)
        for cell in chosen.values():
            cell["model"] = str(folder)
    known: dict[str, Any] = json.loads(path.read_text())["cells"] if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, cell in {} if given.table else chosen.items():
        if name in known and not given.again:
            continue
        try:
            result = measure(cell)
        except SideEndedError as error:
            failed.append(name)
            print(f"{name}  {error}", flush=True)
            continue
        known[name] = {"machine": about(), "asked": cell | {"model": name.split("/")[1]}, **result}
        write_json(path, {"cells": known})
        print(update_table.line(name, known[name]), flush=True)
    if not given.out:
        update_table.write()
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
