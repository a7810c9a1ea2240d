"""Each part of an update by itself, in turns with what it replaces: seconds.

    python benchmarks/parts.py                          nano and a model of 64 million parameters, here
    python benchmarks/parts.py --cells train/nano       only the cells whose name begins so
    python benchmarks/parts.py --model FOLDER           the model of a config folder with random weights, on a card
    python benchmarks/parts.py --list                   names of the cells
    python benchmarks/parts.py --table                  only write the tables of docs/performance.md anew

A figure is the median of at least three rounds after one that is not counted; in a round each way takes its turn. A
cell that was measured stays in results/parts-*.json and is not measured again without --again.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import update_table
from machine import RESULTS, about
from update_cell import Cell

from lowmed.errors import LowmedError

TOKENS = (64, 256, 1024)
GROUPS = (4, 8, 16)
BATCHES = (1, 32, 128)
HEADS = {
    "prefill": ("a prompt read", "| model | image tokens | G | once, ms | once a reply, ms | × |"),
    "train": ("forward and backward of a group", "| model | image tokens | G | prompt once, ms | TRL, ms | × |"),
    "tower": ("features of an image", "| model | image tokens | stock, ms | encoded, ms | memory, ms | disk, ms |"),
    "decode": (
        "a token of every reply",
        "| model | replies | computed in | base, ms | compiled, ms | NF4, ms |",
    ),
}


def cells(model: str | None) -> dict[str, Cell]:
    """Every cell by name."""
    result: dict[str, Cell] = {}
    on_card = model is not None
    for name in [model] if model else ["nano", "mid"]:
        shown = Path(name).name
        common = {"model": name, "load_in": "4bit" if on_card else "16bit", "new_tokens": 128 if on_card else 64}
        few = name == "mid"  # it takes a CPU seconds a pass
        for tokens in (256,) if few else TOKENS:
            for part in ("prefill", "train"):
                for group in (8,) if few else GROUPS:
                    cell = common | {"part": part, "tokens": tokens, "group": group}
                    result[f"{part}/{shown}/{tokens}/{group}"] = cell
        for tokens in TOKENS[:2] if few else TOKENS:
            result[f"tower/{shown}/{tokens}"] = common | {"part": "tower", "tokens": tokens}
        for batch in (32,) if few else BATCHES:
            cell = common | {"part": "decode", "tokens": 64, "group": batch, "new_tokens": 64 if on_card else 16}
            result[f"decode/{shown}/{batch}"] = cell
    return result


def tables(kept: dict[str, Any]) -> str:
    """The tables of one device, as Markdown."""
    parts = []
    for part, (what, head) in HEADS.items():
        rows = [ROWS[part](cell) for cell in kept.values() if cell["asked"]["part"] == part]
        if rows:
            rule = "| --- " * (head.count("|") - 1) + "|"
            parts.append("\n".join([f"**{what.capitalize()}**", "", head, rule, *map(update_table.row, rows)]))
    if not parts:
        return update_table.NOTHING
    return "\n\n".join([*parts, update_table.measured_on(list(kept.values()))])


def _against(cell: dict[str, Any]) -> list[object]:
    asked, once, each = cell["asked"], cell["seconds"]["once"], cell["seconds"]["each"]
    return [asked["model"], asked["tokens"], asked["group"], _ms(once), _ms(each), f"{each / once:.2f}"]


def _tower(cell: dict[str, Any]) -> list[object]:
    asked = cell["asked"]
    images = cell["images"]
    ways = [_ms(cell["seconds"][name] / images) for name in ("stock", "encoded", "memory", "disk")]
    return [asked["model"], asked["tokens"], *ways]


def _decode(cell: dict[str, Any]) -> list[object]:
    asked, seconds = cell["asked"], cell["seconds"]
    ways = (("16bit", "16bit"), ("compiled", "16bit"), ("4bit", "4bit"))
    each = [(seconds[way] - seconds[f"{base} first token"]) / asked["new_tokens"] for way, base in ways]
    return [asked["model"], asked["group"], cell["precision"], *map(_ms, each)]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}" if seconds >= 1 else f"{1000 * seconds:.3g}"


ROWS: dict[str, Callable[[dict[str, Any]], list[object]]] = {
    "prefill": _against,
    "train": _against,
    "tower": _tower,
    "decode": _decode,
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--cells", default="")
    asked.add_argument("--model")
    asked.add_argument("--again", action="store_true")
    asked.add_argument("--list", action="store_true")
    asked.add_argument("--table", action="store_true")
    asked.add_argument("--out", type=Path, help="where the figures go; default benchmarks/results")
    given = asked.parse_args()
    chosen = {name: cell for name, cell in cells(given.model).items() if name.startswith(given.cells)}
    if given.list:
        print(*chosen, sep="\n")
        return
    path = (given.out or RESULTS) / f"parts-{'gpu' if given.model else 'cpu'}.json"
    kept: dict[str, Any] = json.loads(path.read_text())["cells"] if path.exists() else {}
    failed = []
    for name, cell in {} if given.table else chosen.items():
        if name in kept and not given.again:
            continue
        from parts_work import IMAGES, measure  # waits for torch

        try:
            result = measure(cell)
        except (RuntimeError, LowmedError) as error:  # no room on the card, or no compiler: the other cells go on
            print(f"{name}  failed: {error}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        kept[name] = {"machine": about(), "asked": cell | {"model": name.split("/")[1]}, "images": IMAGES, **result}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": kept}, indent=1) + "\n")
        print(name, *(f"{way} {_ms(seconds)} ms" for way, seconds in result["seconds"].items()), sep="  ", flush=True)
    if given.out:
        print(tables(kept))
    for device in () if given.out else ("cpu", "gpu"):
        stored = RESULTS / f"parts-{device}.json"
        update_table.put(f"parts {device}", tables(json.loads(stored.read_text())["cells"] if stored.exists() else {}))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
