"""Times the parts of a training step separately, each compared with the code that it replaces.

    python benchmarks/parts.py                          nano and a model of 64 million parameters, on a CPU
    python benchmarks/parts.py --cells train/nano       only the cells whose names start with this
    python benchmarks/parts.py --model FOLDER           the model of a config folder with random weights, on a GPU
    python benchmarks/parts.py --list                   names of the cells
    python benchmarks/parts.py --table                  only update the tables of docs/performance.md

Each time is the median of at least three rounds after a warm-up. In a round every variant runs once. Measured cells are
stored in results/parts-*.json and skipped; --again measures them again.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import update_table
from gpu_results import cells as cells_on_gpus
from gpu_results import token_s
from machine import RESULTS, about
from page import put
from update_cell import Cell

from lowmed.errors import LowmedError

TOKENS = (64, 256, 1024)
GROUPS = (4, 8, 16)
BATCHES = {"cpu": (1, 32, 128), "gpu": (1, 32, 64)}
HEADS = {
    "prefill": ("a prompt read", "| model | image tokens | G | once, ms | once a completion, ms | × |"),
    "train": ("forward and backward of a group", "| model | image tokens | G | prompt once, ms | TRL, ms | × |"),
    "tower": ("features of an image", "| model | image tokens | stock, ms | encoded, ms | memory, ms | disk, ms |"),
    "decode": (
        "a token of every completion",
        "| model | completions | computed in | 16-bit, ms | 16-bit graph, ms | NF4, ms | NF4 graph, ms |",
    ),
}


def cells(model: str | None) -> dict[str, Cell]:
    """Every cell by name."""
    result: dict[str, Cell] = {}
    on_gpu = model is not None
    for name in [model] if model else ["nano", "mid"]:
        shown = Path(name).name
        common = {"model": name, "load_in": "4bit" if on_gpu else "16bit", "new_tokens": 128 if on_gpu else 64}
        few = name == "mid"  # a pass takes seconds on a CPU
        for tokens in (256,) if few else TOKENS:
            for part in ("prefill", "train"):
                for group in (8,) if few else GROUPS:
                    cell = common | {"part": part, "tokens": tokens, "group": group}
                    result[f"{part}/{shown}/{tokens}/{group}"] = cell
        for tokens in TOKENS[:2] if few else TOKENS:
            result[f"tower/{shown}/{tokens}"] = common | {"part": "tower", "tokens": tokens}
        for batch in (32,) if few else BATCHES["gpu" if on_gpu else "cpu"]:
            result[f"decode/{shown}/{batch}"] = decoding_cell(name, batch, 32 if on_gpu else 16)
    return result


def decoding_cell(model: str, batch: int, new_tokens: int) -> Cell:
    """The cell that decodes some completions to one prompt."""
    settings = {"part": "decode", "load_in": "4bit", "tokens": 64, "group": batch, "new_tokens": new_tokens}
    return {"model": model, **settings}


def tables(stored: Sequence[dict[str, Any]]) -> str:
    """The tables of the cells of one device, as Markdown."""
    parts = []
    for part, (what, head) in HEADS.items():
        rows = [ROWS[part](cell) for cell in stored if cell["settings"]["part"] == part]
        if rows:
            rule = "| --- " * (head.count("|") - 1) + "|"
            parts.append("\n".join([f"**{what.capitalize()}**", "", head, rule, *map(update_table.row, rows)]))
    if not parts:
        return update_table.NOTHING
    return "\n\n".join([*parts, update_table.measured_on(stored)])


def write() -> None:
    """Write the tables between their marks in the page."""
    file = RESULTS / "parts-cpu.json"
    on_cpu = list(json.loads(file.read_text())["cells"].values()) if file.exists() else []
    put(update_table.PAGE, "parts cpu", tables(on_cpu))
    put(update_table.PAGE, "parts gpu", update_table.by_card(cells_on_gpus("parts"), tables))


def _against(cell: dict[str, Any]) -> list[object]:
    settings, once, each = cell["settings"], cell["seconds"]["once"], cell["seconds"]["each"]
    return [settings["model"], settings["tokens"], settings["group"], _ms(once), _ms(each), f"{each / once:.2f}"]


def _tower(cell: dict[str, Any]) -> list[object]:
    settings = cell["settings"]
    images = cell["images"]
    ways = [_ms(cell["seconds"][name] / images) for name in ("stock", "encoded", "memory", "disk")]
    return [settings["model"], settings["tokens"], *ways]


def _decode(cell: dict[str, Any]) -> list[object]:
    settings = cell["settings"]
    per_token = [token_s(cell, base, graphs) for base in ("16bit", "4bit") for graphs in (False, True)]
    shown = ["" if seconds is None else _ms(seconds) for seconds in per_token]
    return [settings["model"], settings["group"], cell["precision"], *shown]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}" if seconds >= 1 else f"{1000 * seconds:.3g}"


ROWS: dict[str, Callable[[dict[str, Any]], list[object]]] = {
    "prefill": _against,
    "train": _against,
    "tower": _tower,
    "decode": _decode,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="")
    parser.add_argument("--model")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, help="folder of the results; default benchmarks/results")
    options = parser.parse_args()
    selected = {name: cell for name, cell in cells(options.model).items() if name.startswith(options.cells)}
    if options.list:
        print(*selected, sep="\n")
        return
    path = (options.out or RESULTS) / f"parts-{'gpu' if options.model else 'cpu'}.json"
    stored: dict[str, Any] = json.loads(path.read_text())["cells"] if path.exists() else {}
    failed = []
    for name, cell in {} if options.table else selected.items():
        if name in stored and not options.again:
            continue
        from parts_work import IMAGES, measure  # imports torch

        try:
            result = measure(cell)
        except (RuntimeError, LowmedError) as error:  # too little GPU memory, or no compiler
            print(f"{name}  failed: {error}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        stored[name] = {
            "machine": about(),
            "settings": cell | {"model": name.split("/")[1]},
            "images": IMAGES,
            **result,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": stored}, indent=1) + "\n")
        print(name, *(f"{way} {_ms(seconds)} ms" for way, seconds in result["seconds"].items()), sep="  ", flush=True)
    if options.out:
        print(tables(list(stored.values())))
    else:
        write()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
