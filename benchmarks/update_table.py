"""The tables of docs/performance.md, written from the stored figures."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from machine import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
GRPO = """| model | image tokens | G | generate | score | train | update | train × | update × | peak GiB |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
SFT = """| model | image tokens | first pass | later pass | first × | later × | peak GiB |
| --- | --- | --- | --- | --- | --- | --- |"""
CURVE = """| seed | updates | lowmed, first third | last third | TRL, first third | last third | lowmed s | TRL s |
| --- | --- | --- | --- | --- | --- | --- | --- |"""
NOTHING = "Not yet measured."


def line(name: str, cell: dict[str, Any]) -> str:
    """One line of progress: the cell and its ratios."""
    sides = dict(cell["sides"])
    ours = sides.pop("lowmed")
    shown = []
    for other, found in sides.items():
        if "seconds" in ours:
            ratios = {each: found["seconds"][each] / ours["seconds"][each] for each in ("train", "all")}
            shown.append(f"{other}: train {ratios['train']:.2f} times, update {ratios['all']:.2f} times")
        elif "epoch_s" in ours:
            shown.append(f"{other}: first pass {found['epoch_s'][0] / ours['epoch_s'][0]:.2f} times")
        else:
            shown.append(f"{other}: {found['s']:.0f} s against {ours['s']:.0f} s")
    return f"{name}  " + "; ".join(shown)


def tables(device: str, against: str, results: Path = RESULTS) -> str:
    """The tables of one device against one other side, as Markdown."""
    path = results / f"update-{device}.json"
    cells = json.loads(path.read_text())["cells"] if path.exists() else {}
    mine = [cell for cell in cells.values() if against in cell["sides"]]
    if not mine:
        return NOTHING
    parts = []
    for task, head, row in (("grpo", GRPO, _grpo), ("sft", SFT, _sft), ("learning", CURVE, _learning)):
        lines = [row(cell, against) for cell in _ordered(each for each in mine if each["asked"]["task"] == task)]
        if lines:
            parts.append("\n".join([head, *lines]))
    return "\n\n".join([*parts, _measured_on(mine)])


def write() -> None:
    """Put the tables between their marks in the page."""
    text = PAGE.read_text()
    for device in ("cpu", "gpu"):
        for against in ("trl", "trl-same", "unsloth"):
            mark = f"update {device} {against}"
            before, found, rest = text.partition(f"<!-- {mark} -->")
            if found:
                after = rest.partition(f"<!-- /{mark} -->")[2]
                text = f"{before}{found}\n{tables(device, against)}\n<!-- /{mark} -->{after}"
    PAGE.write_text(text)


def _ordered(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        cells,
        key=lambda cell: [
            -len(cell["asked"]["model"]),
            cell["asked"]["tokens"],
            cell["asked"]["group"],
            cell["asked"]["seed"],
        ],
    )


def _grpo(cell: dict[str, Any], against: str) -> str:
    asked, ours, other = cell["asked"], cell["sides"]["lowmed"], cell["sides"][against]
    phases = [
        f"{ours['seconds'][name]:.2f} / {other['seconds'][name]:.2f}" for name in ("generate", "score", "train", "all")
    ]
    ratios = [f"{other['seconds'][name] / ours['seconds'][name]:.2f}" for name in ("train", "all")]
    return _row([asked["model"], asked["tokens"], asked["group"], *phases, *ratios, _peak(ours, other)])


def _sft(cell: dict[str, Any], against: str) -> str:
    asked, ours, other = cell["asked"], cell["sides"]["lowmed"], cell["sides"][against]
    pairs = list(zip(ours["epoch_s"], other["epoch_s"], strict=True))
    seconds = [f"{mine:.2f} / {theirs:.2f}" for mine, theirs in pairs]
    ratios = [f"{theirs / mine:.2f}" for mine, theirs in pairs]
    return _row([asked["model"], asked["tokens"], *seconds, *ratios, _peak(ours, other)])


def _learning(cell: dict[str, Any], against: str) -> str:
    asked, ours, other = cell["asked"], cell["sides"]["lowmed"], cell["sides"][against]
    third = asked["updates"] // 3
    means = [
        f"{sum(part) / third:.3f}"
        for side in (ours, other)
        for part in (side["rewards"][:third], side["rewards"][-third:])
    ]
    return _row([asked["seed"], asked["updates"], *means, f"{ours['s']:.0f}", f"{other['s']:.0f}"])


def _peak(ours: dict[str, Any], other: dict[str, Any]) -> str:
    return f"{ours['peak_gib']['all']:.2f} / {other['peak_gib']['all']:.2f}"


def _row(values: Iterable[object]) -> str:
    return "| " + " | ".join(str(value) for value in values) + " |"


def _measured_on(cells: list[dict[str, Any]]) -> str:
    seen: dict[str, None] = {}
    for cell in cells:
        here = cell["machine"]
        card = cell.get("card", "CPU")
        where = f"{here['processor']}, {here['cores']} cores" if card == "CPU" else card
        packages = ", ".join(f"{name} {number}" for name, number in here["versions"].items())
        seen[f"Measured {here['date']} on {where}; {packages}."] = None
    return "\n".join(seen)
