"""Writes the tables of docs/performance.md from the stored results."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gpu_results
from machine import RESULTS
from page import put

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
GRPO = """| model | image tokens | G | steps | generate | score | train | step | train × | step × | peak GiB |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
SFT = """| model | image tokens | steps per epoch | first epoch | later epoch | first × | later × | peak GiB |
| --- | --- | --- | --- | --- | --- | --- | --- |"""
DPO = SFT.replace("| model |", "| DPO, model |")
NOTHING = "Not yet measured."


def line(name: str, cell: dict[str, Any]) -> str:
    """One line of progress: the cell and its ratios."""
    sides = dict(cell["sides"])
    ours = sides.pop("lowmed")
    shown = []
    for other, result in sides.items():
        if "seconds" in ours:
            ratios = {each: result["seconds"][each] / ours["seconds"][each] for each in ("train", "all")}
            shown.append(f"{other}: train {ratios['train']:.2f} times, step {ratios['all']:.2f} times")
        else:
            shown.append(f"{other}: first epoch {result['epoch_s'][0] / ours['epoch_s'][0]:.2f} times")
    return f"{name}  " + "; ".join(shown)


def tables(cells: Sequence[dict[str, Any]], against: str) -> str:
    """The tables of the cells of one device, compared with one other side, as Markdown."""
    compared = [cell for cell in cells if {"lowmed", against} <= set(cell["sides"])]
    if not compared:
        return NOTHING
    parts = []
    for task, head, shown in (("grpo", GRPO, _grpo), ("sft", SFT, _epochs), ("dpo", DPO, _epochs)):
        lines = [
            shown(cell, against)
            for cell in _ordered(stored for stored in compared if stored["settings"]["task"] == task)
        ]
        if lines:
            parts.append("\n".join([head, *lines]))
    return "\n\n".join([*parts, measured_on(compared)])


def by_card(cells: Sequence[dict[str, Any]], table: Callable[[Sequence[dict[str, Any]]], str]) -> str:
    """The tables of several GPUs, each under its name.

    Args:
        cells: cells of any GPU.
        table: makes the table of one GPU.
    """
    every = {card: table(group) for card, group in gpu_results.by_card(cells).items()}
    return "\n\n".join(f"**{card}**\n\n{text}" for card, text in every.items() if text != NOTHING) or NOTHING


def write() -> None:
    """Write the tables between their marks in the page."""
    path = RESULTS / "update-cpu.json"
    on_cpu = list(json.loads(path.read_text())["cells"].values()) if path.exists() else []
    on_gpus = gpu_results.cells("update")
    for against in ("trl", "trl-same"):
        put(PAGE, f"update cpu {against}", tables(on_cpu, against))
    for against in ("trl", "trl-same", "unsloth"):
        put(PAGE, f"update gpu {against}", by_card(on_gpus, partial(tables, against=against)))


def _ordered(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        cells,
        key=lambda cell: [
            -len(cell["settings"]["model"]),
            cell["settings"]["tokens"],
            cell["settings"]["group"],
        ],
    )


def _grpo(cell: dict[str, Any], against: str) -> str:
    settings, ours, other = cell["settings"], cell["sides"]["lowmed"], cell["sides"][against]
    phases = [
        f"{ours['seconds'][name]:.2f} / {other['seconds'][name]:.2f}" for name in ("generate", "score", "train", "all")
    ]
    ratios = [f"{other['seconds'][name] / ours['seconds'][name]:.2f}" for name in ("train", "all")]
    timed = len(ours["completion_tokens"])
    return row([settings["model"], settings["tokens"], settings["group"], timed, *phases, *ratios, _peak(ours, other)])


def _epochs(cell: dict[str, Any], against: str) -> str:
    settings, ours, other = cell["settings"], cell["sides"]["lowmed"], cell["sides"][against]
    pairs = list(zip(ours["epoch_s"], other["epoch_s"], strict=True))
    seconds = [f"{first:.2f} / {second:.2f}" for first, second in pairs]
    ratios = [f"{second / first:.2f}" for first, second in pairs]
    return row([settings["model"], settings["tokens"], settings["updates"] // 2, *seconds, *ratios, _peak(ours, other)])


def _peak(ours: dict[str, Any], other: dict[str, Any]) -> str:
    return f"{ours['peak_gib']['all']:.2f} / {other['peak_gib']['all']:.2f}"


def row(values: Iterable[object]) -> str:
    """A line of a table."""
    return "| " + " | ".join(str(value) for value in values) + " |"


def measured_on(cells: Sequence[dict[str, Any]]) -> str:
    """Machine, date and versions of the measurements."""
    lines: dict[str, None] = {}
    for cell in cells:
        machine = cell["machine"]
        card = cell.get("card", "CPU")
        where = f"{machine['processor']}, {machine['cores']} cores" if card == "CPU" else card
        packages = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
        lines[f"Measured {machine['date']} on {where}; {packages}."] = None
    return "\n".join(lines)
