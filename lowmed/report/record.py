"""Everything that a run has to tell, read from its folder once: the page and the model card are made of this."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed.evaluate import results_folder
from lowmed.evaluate.report import report
from lowmed.recipe import Recipe
from lowmed.run import Run

AVERAGED = 10  # last updates over which a reward's share is told
LOCAL = ("data.path",)  # where somebody keeps patients' data is nobody else's business


@dataclass(frozen=True)
class Record:
    """A run: its own record, recipe, metrics by update, last rollouts, and evaluations by folder."""

    run: Mapping[str, Any]
    recipe: Recipe
    metrics: tuple[dict[str, Any], ...]
    rollouts: tuple[dict[str, Any], ...]
    evaluations: Mapping[Path, dict[str, Any]]


def read(run: Run) -> Record:
    """The record of a run folder, evaluations scored by today's rules.

    Raises:
        RunError: an evaluation in it lacks completions.
    """
    rollouts = run.rows("rollouts.jsonl")
    last = max((row["step"] for row in rollouts), default=0)
    folders = sorted(file.parent for file in (run.folder / "evals").glob(f"*/{results_folder.SETTINGS}"))
    return Record(
        run=run.record,
        recipe=run.recipe,
        metrics=(*run.rows("metrics.jsonl"), *run.rows("canaries.jsonl")),
        rollouts=tuple(row for row in rollouts if row["step"] == last),
        evaluations={folder: report(folder) for folder in folders},
    )


def settings(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Key, value and provenance of every setting; a provenance for a section holds for all keys below it."""
    result: list[tuple[str, str, str]] = []

    def walk(prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict):
                walk(f"{key}.", value)
            elif key not in LOCAL:
                shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                result.append((key, shown, _provenance(key, recipe.provenance)))

    walk("", recipe.model_dump(mode="json", exclude={"about", "provenance"}))
    return result


def rewards(record: Record) -> list[dict[str, Any]]:
    """Each reward's weight, its mean over the first and the last updates, and its share of what was paid at the end."""
    result = []
    for reward in record.recipe.method.reward_specs:
        said = (row.get(f"rewards/{reward.name}") for row in record.metrics)
        values = [value for value in said if value is not None]  # one that had nothing to say on a whole update is None
        if values:
            first, last = values[:AVERAGED], values[-AVERAGED:]
            result.append(
                {
                    "name": reward.name,
                    "weight": reward.weight,
                    "first": sum(first) / len(first),
                    "last": sum(last) / len(last),
                }
            )
    paid = sum(each["weight"] * each["last"] for each in result)
    return [{**each, "share": each["weight"] * each["last"] / paid if paid else 0.0} for each in result]


def _provenance(key: str, known: Mapping[str, str]) -> str:
    parts = key.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((known[name] for name in names if name in known), "")
