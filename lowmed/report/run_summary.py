"""The facts of run directories, read without torch and without scoring anything."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowmed.errors import LowmedError, RunError
from lowmed.recipe.raw import read_raw
from lowmed.report.run_evaluations import evaluations
from lowmed.report.run_records import EvaluationSummary, HeldOutAccuracy, RunList, RunSummary
from lowmed.run import RECIPE, RECORD, Run
from lowmed.run_removal import disk_bytes, is_leftover

BRIDGE = "bridge.json"
_TAIL = 65536  # bytes; a line of metrics has about one thousand


def list_folder(folder: Path) -> RunList:
    """All folders in a folder, as runs: newest first, and what is not a readable run last.

    Raises:
        RunError: the folder does not exist, is itself a run, or cannot be read.
    """
    if (folder / RECORD).is_file():
        raise RunError("this is a run, not a folder of runs", str(folder), f"lowmed runs show {folder}")
    try:
        inner = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError as error:
        raise RunError(
            f"the folder cannot be read ({error.strerror})", str(folder), "name a folder that holds runs"
        ) from error
    rows = [summary(path) for path in inner if not path.name.startswith(".") or is_leftover(path)]
    rows.sort(key=lambda row: row.started or "", reverse=True)
    return RunList(folder=str(folder), runs=tuple(rows))


def summary(folder: Path) -> RunSummary:
    """One folder as a row of the list. A folder that is not a readable run is a row with the reason."""
    size = disk_bytes(folder)
    try:
        if is_leftover(folder):
            reason = f"its removal was interrupted; lowmed runs rm {folder}"
            return RunSummary(folder=str(folder), status="leftover", reason=reason, bytes=size)
        if not (folder / RECORD).is_file():
            bridge = (folder / BRIDGE).is_file()
            reason = f"a bridge; lowmed runs list {folder}" if bridge else f"not a run: it has no {RECORD}"
            return RunSummary(folder=str(folder), status="other", reason=reason, bytes=size)
        return _summary(Run(folder), size)
    except LowmedError as error:
        reason = error.what
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
    return RunSummary(folder=str(folder), status="damaged", reason=reason, bytes=size)


def _summary(run: Run, size: int) -> RunSummary:
    record = run.record
    status, reason = run.status()
    recipe = recipe_values(run)
    last = last_metrics(run).get("step")
    max_steps = _inner(recipe, "method", "max_steps")
    return RunSummary(
        folder=str(run),
        status=status,
        reason=reason,
        recipe=record.name,
        method=str(_inner(recipe, "method", "kind") or ""),
        source=_source(recipe),
        steps=last if isinstance(last, int) and status != "finished" else record.steps or 0,
        max_steps=max_steps if isinstance(max_steps, int) else None,
        accuracy=_accuracy(evaluations(run)[0]),
        bytes=size,
        started=record.started,
    )


def recipe_values(run: Run) -> dict[str, Any]:
    """The plain values of a run's recipe, which may be of an earlier version.

    Raises:
        RecipeError: the file is missing or is not YAML.
    """
    return read_raw(run.folder / RECIPE).values


def last_metrics(run: Run) -> dict[str, Any]:
    """The metrics of the last complete step; empty without one."""
    try:
        with (run.folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:  # empty, or not complete
            continue
        return row if isinstance(row, dict) else {}
    return {}


def _accuracy(evaluated: list[EvaluationSummary]) -> HeldOutAccuracy | None:
    for evaluation in evaluated:
        for split, part in evaluation.parts.items():
            if "tuned" in part.strict:
                source = str(evaluation.settings["source"])
                return HeldOutAccuracy(
                    source=source, split=split, questions=part.questions, strict=part.strict["tuned"]
                )
    return None


def _source(recipe: Any) -> str:
    """The name of the data set, or the names of several, joined by +."""
    several = _inner(recipe, "data", "sources")
    entries = several if isinstance(several, list) else []
    names = [entry.get("name") or entry.get("source") for entry in entries if isinstance(entry, dict)]
    return "+".join(map(str, names)) or str(_inner(recipe, "data", "source") or "")


def _inner(values: Mapping[str, Any], section: str, key: str) -> Any:
    inner = values.get(section)
    return inner.get(key) if isinstance(inner, dict) else None
