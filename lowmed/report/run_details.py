"""The important facts of one run, and several runs next to each other."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from lowmed.data.run_identity import EARLIER, SPLIT
from lowmed.errors import LowmedError, RunError
from lowmed.files import read_json
from lowmed.recipe.io import load_recipe, shipped_recipes
from lowmed.report.console import STEPS_AVERAGED
from lowmed.report.run_evaluations import evaluations
from lowmed.report.run_records import Checkpoint, EvaluationSummary, RunColumn, RunDetails, RunsComparison, RunSummary
from lowmed.report.run_summary import last_metrics, recipe_values, summary
from lowmed.run import Run
from lowmed.run_removal import disk_bytes

QUESTIONS = ("data_digest", "questions")  # settings without which two evaluations are not of the same questions


def details(run: Run) -> RunDetails:
    """The important facts of one run.

    Raises:
        RunError: the run is damaged.
    """
    row = _readable(run)
    record = run.record
    shipped, changes = _recipe_changes(run, record.name)
    stored, problems = evaluations(run)
    checkpoints = _checkpoints(run)
    return RunDetails(
        run=row,
        continues=record.continues,
        dev=_dev_lines(run),
        recipe_digest=record.recipe_digest,
        shipped_recipe=shipped,
        recipe_changes=changes,
        data_digest=record.data_digest,
        parts=_parts(run),
        card=record.card,
        seconds=record.seconds,
        peak_gib=record.peak_gib,
        metrics=last_metrics(run),
        evaluations=tuple(stored),
        checkpoints=tuple(checkpoints),
        warnings=tuple(_warnings(run, row, stored, checkpoints, problems)),
        next=_next(run, row, bool(stored)),
    )


def _dev_lines(run: Run) -> tuple[str, ...]:
    from lowmed.evaluation import dev  # loads the answer rules, which a list of runs does not need

    lines = dev.comparable(run.rows(dev.FILE))
    return tuple(dev.summary(lines, run.recipe.dev.keep)) if lines else ()


def comparison(runs: Sequence[Run]) -> RunsComparison:
    """Several runs next to each other.

    Raises:
        RunError: a run is damaged.
    """
    rows = [_readable(run) for run in runs]
    recipes = [flat(recipe_values(run)) for run in runs]
    keys = list(dict.fromkeys(key for recipe in recipes for key in recipe))
    different = [key for key in keys if any(_other(recipes[0], recipe, key) for recipe in recipes[1:])]
    columns = tuple(
        RunColumn(
            run=row,
            settings={key: recipe[key] for key in different if key in recipe},
            final=_final(run),
            evaluations={Path(one.folder).name: one for one in evaluations(run)[0]},
        )
        for run, row, recipe in zip(runs, rows, recipes, strict=True)
    )
    return RunsComparison(steps_averaged=STEPS_AVERAGED, runs=columns, warnings=tuple(_not_comparable(columns)))


def flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings of a recipe by dotted key, without what cannot change the result."""
    result: dict[str, Any] = {}
    for name, value in recipe.items():
        if not prefix and name in ("about", "provenance"):
            continue
        key = f"{prefix}{name}"
        result |= flat(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return result


def _other(first: Mapping[str, Any], second: Mapping[str, Any], key: str) -> bool:
    return (key in first) != (key in second) or first.get(key) != second.get(key)


def _readable(run: Run) -> RunSummary:
    row = summary(run.folder)
    if row.status in ("damaged", "leftover", "other"):
        raise RunError(f"the run cannot be read: {row.reason}", str(run), "restore its files from a backup")
    return row


def _recipe_changes(run: Run, name: str) -> tuple[str | None, dict[str, tuple[Any, Any]]]:
    values = recipe_values(run)
    nano = isinstance(values.get("model"), dict) and values["model"].get("name") == "nano"
    shipped = name.removesuffix("-nano") if nano else name
    if shipped not in shipped_recipes():
        return None, {}
    original = flat(load_recipe(shipped, nano=nano).model_dump(mode="json"))
    own = flat(values)
    keys = dict.fromkeys([*original, *own])
    return shipped, {key: (original.get(key), own.get(key)) for key in keys if _other(original, own, key)}


def _parts(run: Run) -> dict[str, int]:
    try:
        return {part: len(ids) for part, ids in read_json(run.folder / SPLIT).items()}
    except (OSError, ValueError, AttributeError, TypeError):  # absent before the first step, or damaged
        return {}


def _checkpoints(run: Run) -> list[Checkpoint]:
    folders = [path for path in run.checkpoints.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    folders.sort(key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return [
        Checkpoint(name=path.name, complete=(path / "complete.json").is_file(), bytes=disk_bytes(path))
        for path in folders
    ]


def _warnings(
    run: Run,
    row: RunSummary,
    stored: Sequence[EvaluationSummary],
    checkpoints: Sequence[Checkpoint],
    problems: Sequence[str],
) -> Iterator[str]:
    if (run.folder / EARLIER).is_file():
        yield "the data changed during training: --allow-changed-data"
    if row.status == "finished" and not (run.adapter / "adapter_model.safetensors").is_file():
        yield "the run is finished, but its adapter is missing"
    if row.status not in ("finished", "running") and not any(one.complete for one in checkpoints):
        yield "no complete checkpoint: training starts again at step 1"
    for evaluation in stored:
        for split, part in evaluation.parts.items():
            if part.stamp:
                yield f"{Path(evaluation.folder).name} {split}: {part.stamp}"
    yield from problems


def _next(run: Run, row: RunSummary, evaluated: bool) -> str:
    if row.status == "running":
        return ""
    if row.status != "finished":
        return f"lowmed {row.method} --resume {run}"
    return f"lowmed report {run}" if evaluated else f"lowmed eval {run} --with-base"


def _final(run: Run) -> dict[str, float]:
    try:
        rows = run.rows("metrics.jsonl")
        series = {name: [row[name] for row in rows if row.get(name) is not None] for name in ("reward", "loss")}
        return {name: fmean(values[-STEPS_AVERAGED:]) for name, values in series.items() if values}
    except (LowmedError, AttributeError, TypeError):  # a damaged line
        return {}


def _not_comparable(columns: Sequence[RunColumn]) -> Iterator[str]:
    """One line for each data source on which the runs were not evaluated alike."""
    names = dict.fromkeys(name for column in columns for name in column.evaluations)
    for name in names:
        evaluated = [column.evaluations[name] for column in columns if name in column.evaluations]
        settings = [
            {**one.settings, "questions": {split: part.questions for split, part in one.parts.items()}}
            for one in evaluated
        ]
        different = [key for key in settings[0] if len({json.dumps(one[key]) for one in settings}) > 1]
        if any(key in QUESTIONS for key in different):
            yield f"{name}: NOT THE SAME QUESTIONS ({', '.join(different)} differ): do not compare these accuracies"
        elif different:
            yield f"{name}: EVALUATED DIFFERENTLY ({', '.join(different)} differ): do not compare these accuracies"
