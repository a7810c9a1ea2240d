"""The stored measurements of GPUs, and the `auto` choices that follow from them."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from machine import RESULTS

FASTER_BY = 1.05  # a value is chosen over the default if it is at least this many times as fast in every cell
FORMAT = 1  # of gpu_first.json
Document = dict[str, Any]
Cell = dict[str, Any]


def documents(results: Path = RESULTS) -> list[Document]:
    """The files of gpu_first.py in results/gpu, the oldest first.

    Args:
        results: folder of all results.

    Raises:
        SystemExit: a file is not one of this version.
    """
    read = []
    for path in sorted((results / "gpu").glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            valid = document["format"] == FORMAT and isinstance(document["steps"], dict)
        except (ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise SystemExit(f"{path} is not a gpu_first.json of format {FORMAT}")
        read.append(document)
    return sorted(read, key=lambda document: str(document["started"]))


def figures(document: Document, *steps: str) -> list[dict[str, Any]]:
    """The figures of some steps, also of steps that ended early."""
    every = [document["steps"].get(step, {}).get("figures") for step in steps]
    return [each for each in every if each]


def cells(kind: Literal["update", "parts"], results: Path = RESULTS) -> list[Cell]:
    """Measured cells on GPUs, of gpu_first.py and of the longer series of update.py or parts.py.

    Of two cells with the same GPU and settings the later one counts.

    Args:
        kind: `update` for cells of update.py, `parts` for those of parts.py.
        results: folder of all results.
    """
    steps = ("update", "update-same", "unsloth") if kind == "update" else ("decode",)
    path = results / f"{kind}-gpu.json"
    every: list[Cell] = list(json.loads(path.read_text())["cells"].values()) if path.exists() else []
    for document in documents(results):
        for part in figures(document, *steps):
            every += [{"machine": part["machine"], **cell} for cell in part["cells"]]
    return list({(cell["card"], json.dumps(_identity(cell))): cell for cell in every if cell["card"] != "CPU"}.values())


def _identity(cell: Cell) -> dict[str, Any]:
    """The settings without paths, and the sides."""
    return {**cell["settings"], "sides": sorted(cell.get("sides", ()))}


def by_card(every: Iterable[Cell]) -> dict[str, list[Cell]]:
    """The cells of each GPU."""
    grouped: dict[str, list[Cell]] = {}
    for cell in every:
        grouped.setdefault(cell["card"], []).append(cell)
    return dict(sorted(grouped.items()))


def token_s(cell: dict[str, Any], base: str, graphs: bool) -> float | None:
    """Seconds of a token of every completion; None without a measurement, or if a graph could not be captured.

    Args:
        cell: a measured cell of decoding.
        base: `4bit` or `16bit`.
        graphs: whether by CUDA graphs.
    """
    seconds: dict[str, float] = cell["seconds"]
    way = f"{base} graph" if graphs else base
    if way not in seconds or not cell.get("captured", {}).get(way, True):
        return None
    return (seconds[way] - seconds[f"{base} first token"]) / int(cell["settings"]["new_tokens"])


def choices(update_cells: Iterable[Cell], decode_cells: Iterable[Cell]) -> dict[str, dict[str, str]]:
    """The table of lowmed/plan/faster.json: name of a GPU -> setting -> the value that `auto` selects.

    A value is selected instead of the default if it was at least 5 % faster in every measured cell. CUDA graphs, the
    default of `rollout`, must have made the tokens of the eager step. Without a measurement there is no entry.

    Args:
        update_cells: whole steps, for `backend`.
        decode_cells: milliseconds a token, for `rollout` and `load_in`.
    """
    table: dict[str, dict[str, str]] = {}

    def choose(card: str, setting: str, default: str, other: str, ratios: list[float]) -> None:
        if ratios:
            table.setdefault(card, {})[setting] = other if min(ratios) >= FASTER_BY else default

    for card, group in by_card(update_cells).items():
        compared = [cell["sides"] for cell in group if {"lowmed", "unsloth"} <= set(cell["sides"])]
        ratios = [sides["lowmed"]["seconds"]["all"] / sides["unsloth"]["seconds"]["all"] for sides in compared]
        choose(card, "backend", "transformers", "unsloth", ratios)
    for card, group in by_card(decode_cells).items():
        measured = [ratio for cell in group for base in ("4bit", "16bit") for ratio in _eager_ratio(cell, base)]
        wrong = any(not equal for cell in group for equal in cell["equal"].values())
        choose(card, "rollout", "cuda_graphs", "transformers", [math.inf] if wrong else measured)
        choose(card, "load_in", "4bit", "16bit", [_token_s(cell, "4bit") / _token_s(cell, "16bit") for cell in group])
    return dict(sorted(table.items()))


def _eager_ratio(cell: Cell, base: str) -> list[float]:
    """How many times as fast the eager step is as a graph; empty if one of them has no measurement."""
    eager, graph = (token_s(cell, base, graphs) for graphs in (False, True))
    return [] if eager is None or graph is None else [graph / eager]


def _token_s(cell: Cell, base: str) -> float:
    """Seconds of a token by the fastest way."""
    times = [token_s(cell, base, graphs) for graphs in (False, True)]
    return min((time for time in times if time is not None), default=math.nan)
