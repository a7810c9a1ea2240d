"""Turns the stored files of gpu_first.sh, results/gpu/*.json, into tables, planner rows and `auto` choices.

    make gpu-tables

It writes the GPU tables of docs/performance.md, the measured runs of the planner (results/memory/) with their tables,
and lowmed/plan/faster.json.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import memory
import parts
import update_table
from gpu_results import Document, cells, choices, documents, figures
from machine import RESULTS
from page import put

from lowmed.files import write_text
from lowmed.plan import calibration, faster


def checks_table(read: Iterable[Document]) -> str:
    """Finite metrics, equal tokens, fp16, and tests on each GPU, as Markdown."""
    rows = [row for document in read for row in _checks(document)]
    if not rows:
        return update_table.NOTHING
    head = "| GPU | date | check | result |\n| --- | --- | --- | --- |"
    return "\n".join([head, *map(update_table.row, rows)])


def _checks(document: Document) -> list[list[object]]:
    card = next((each["card"] for each in figures(document, "doctor") if "card" in each), "unknown")
    if card == "CPU":
        return []
    start = [card, document["started"].split()[0]]
    rows: list[list[object]] = [
        [*start, f"GRPO of nano, {each['steps']} steps", _finite(each)] for each in figures(document, "nano")
    ]
    for each in figures(document, "decode"):
        for pair in each["agreement"]:
            what = f"greedy tokens as of the eager step, {pair['model']}, {pair['load_in']}"
            rows += [[*start, f"{what}: {way}", _equal(pair, result)] for way, result in pair["ways"].items()]
    for each in figures(document, "precision"):
        title = " against ".join(reversed(each["pair"]))
        rows += [[*start, f"SFT in {title}, {model['model']}", _difference(model)] for model in each["models"]]
    for each in figures(document, "tests", "test-runs"):
        shown = ", ".join(f"{count} {state}" for state, count in each["counts"].items() if count)
        rows.append([*start, "tests that need a GPU", shown])
    return rows


def _finite(nano: dict[str, Any]) -> str:
    if nano["not_finite"]:
        return f"not finite: {', '.join(nano['not_finite'])}"
    difference = (
        f"log-probabilities in sampling and training differ by at most {nano['logp_difference']:.2g} on average"
    )
    return f"all metrics finite, {nano['step_s']:.2f} s a step; {difference}"


def _equal(pair: dict[str, Any], result: dict[str, Any]) -> str:
    if not result["captured"]:
        return "no graph could be captured"
    shown = f"{100 * result['equal']:.0f} % of {pair['prompts']} completions of {pair['tokens']} tokens"
    first = result["first_different"]
    return shown if first is None else f"{shown}; the first difference at token {first}"


def _difference(model: dict[str, Any]) -> str:
    steps = f"finite in {model.get('finite_steps', 0)} steps"
    difference = model.get("difference", {})
    return "; ".join([steps, *(f"{name} differs by {100 * value:.2g} %" for name, value in difference.items())])


def store_dry_runs(read: Iterable[Document], folder: Path) -> list[Path]:
    """Write the dry runs as rows of the planner.

    Args:
        read: documents of gpu_first.py.
        folder: where the measured runs are stored.
    """
    every = [each["run"] for document in read for each in figures(document, "dry-run", "dry-run-sft", "dry-run-16bit")]
    runs = [calibration.MeasuredRun.model_validate(run) for run in every]
    return [calibration.store(run, folder) for run in runs if run.card != "CPU"]


def main() -> None:
    read = documents()
    put(update_table.PAGE, "gpu checks", checks_table(read))
    update_table.write()
    parts.write()
    store_dry_runs(read, RESULTS / "memory")
    memory.write()
    write_text(faster.TABLE, json.dumps(choices(cells("update"), cells("parts")), indent=1) + "\n")


if __name__ == "__main__":
    main()
