"""Runs as tables for the terminal."""

import json
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from lowmed.report.console import NOTICE, console, interval
from lowmed.report.run_records import RunColumn, RunDetails, RunList, RunsComparison, RunSummary, StoredAccuracy

MIB = 1024**2
VALUE_SHOWN = 40  # characters of a recipe's value


def show_list(result: RunList) -> None:
    """Print one row a run, then the reasons of what is not a finished run."""
    shown = console()
    if not result.runs:
        shown.print(f"no runs in {escape(result.folder)}; e.g. lowmed grpo --recipe rarl --nano")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "status", "recipe", "method", "data", "steps", "strict accuracy", "MiB", "age"):
        table.add_column(heading, justify="right" if heading in ("MiB", "age") else "left", no_wrap=True)
    for row in result.runs:
        cells = (row.folder, row.status, row.recipe, row.method, row.source, steps(row), _accuracy(row))
        table.add_row(*(escape(cell or "-") for cell in cells), mib(row.bytes), age(row.started))
    shown.print(table)
    for row in result.runs:
        if row.reason:
            shown.print(escape(f"{row.folder}: {row.status}, {row.reason}"))


def show_details(result: RunDetails) -> None:
    """Print the facts of a run as lines."""
    shown = console()
    for label, value in _lines(result):
        shown.print(f"[bold]{label:<10}[/bold] {escape(value)}")


def show_comparison(result: RunsComparison) -> None:
    """Print one column a run: differing recipe keys, progress, accuracies."""
    shown = console(1000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for column in result.runs:
        table.add_column(escape(column.run.folder), no_wrap=True)
    for key in dict.fromkeys(key for column in result.runs for key in column.settings):
        cells = (text(column.settings[key]) if key in column.settings else "-" for column in result.runs)
        table.add_row(escape(key), *map(escape, cells))
    table.add_row("status", *(column.run.status for column in result.runs))
    table.add_row("steps", *(steps(column.run) for column in result.runs))
    for name in dict.fromkeys(name for column in result.runs for name in column.final):
        cells = (f"{column.final[name]:.3f}" if name in column.final else "-" for column in result.runs)
        table.add_row(f"{name}, mean of the last {result.steps_averaged} steps", *cells)
    parts = [(name, split) for column in result.runs for name, one in column.evaluations.items() for split in one.parts]
    for name, split in dict.fromkeys(parts):
        table.add_row(escape(f"{name} {split}, strict"), *(_part(column, name, split) for column in result.runs))
    shown.print(table)
    shown.print()
    for warning in result.warnings:
        shown.print(escape(warning))
    shown.print("Overlapping intervals are no test. For two runs: lowmed compare A B")
    shown.print(NOTICE)


def steps(row: RunSummary) -> str:
    """Steps done of all steps."""
    if row.status in ("damaged", "leftover", "other"):
        return "-"
    return f"{row.steps} of {'?' if row.max_steps is None else row.max_steps}"


def mib(size: int) -> str:
    """A size in MiB."""
    return f"{size / MIB:,.1f}"


def age(started: str | None) -> str:
    """The time since a run was created, in one unit."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(started or "")).total_seconds()
    except (ValueError, TypeError):  # TypeError: without a time zone
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def text(value: Any) -> str:
    """A recipe's value on one line."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= VALUE_SHOWN else f"{shown[:VALUE_SHOWN]} ..."


def _accuracy(row: RunSummary) -> str:
    held_out = row.accuracy
    return f"{_share(held_out.strict)} {held_out.source} {held_out.split}" if held_out else "-"


def _share(stored: StoredAccuracy) -> str:
    return f"{stored.accuracy:.3f} {interval(stored.by_image)}"


def _part(column: RunColumn, name: str, split: str) -> str:
    part = column.evaluations[name].parts.get(split) if name in column.evaluations else None
    return f"{_share(part.strict['tuned'])}, n={part.questions}" if part and "tuned" in part.strict else "-"


def _lines(result: RunDetails) -> list[tuple[str, str]]:
    row = result.run
    lines = [("run", row.folder), ("status", f"{row.status}{f' ({row.reason})' if row.reason else ''}")]
    lines += [("started", f"{row.started}, {age(row.started)} ago")]
    lines += [("recipe", f"{row.recipe}, {row.method}, digest {result.recipe_digest}")]
    if result.shipped_recipe:
        changes = [
            f"{key}={text(own)} (shipped: {text(shipped)})" for key, (shipped, own) in result.recipe_changes.items()
        ]
        lines += [("changed", line) for line in changes] or [("changed", f"nothing, it is {result.shipped_recipe}")]
    lines += [("data", f"{row.source}, digest {(result.data_digest or 'not yet recorded')[:12]}")]
    if result.parts:
        lines += [("parts", ", ".join(f"{part} {count:,}" for part, count in result.parts.items()))]
    lines += [("steps", steps(row))]
    if result.continues:
        lines += [("continues", result.continues)]
    lines += [("dev", line) for line in result.dev]
    if result.seconds is not None:
        lines += [("time", f"{result.seconds:,.0f} s on {result.card or 'unknown'}")]
    if result.peak_gib is not None:
        lines += [("memory", f"peak {result.peak_gib:.2f} GiB")]
    figures = {name: value for name, value in result.metrics.items() if isinstance(value, int | float)}
    if figures:
        lines += [("metrics", "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))]
    for evaluation in result.evaluations:
        lines += [("evaluation", evaluation.folder)]
        for split, part in evaluation.parts.items():
            for system in part.strict:
                shares = f"strict {_share(part.strict[system])}, lenient {_share(part.lenient[system])}"
                lines += [("", f"{split}, n={part.questions}, {system}: {shares}")]
    for checkpoint in result.checkpoints:
        state = "" if checkpoint.complete else ", incomplete"
        lines += [("checkpoint", f"{checkpoint.name}, {mib(checkpoint.bytes)} MiB{state}")]
    lines += [("size", f"{mib(row.bytes)} MiB")]
    lines += [("warning", warning) for warning in result.warnings]
    return lines + ([("next", result.next)] if result.next else [])
