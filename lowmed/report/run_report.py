"""The content of a run's report, read from its directory once; the page and the model card render it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed.evaluation import dev, results_folder
from lowmed.evaluation.records import EvalReport
from lowmed.evaluation.report import report
from lowmed.recipe import Recipe
from lowmed.records import RunRecord
from lowmed.run import Run

STEPS_AVERAGED = 10  # at each end of training
PRIVATE_KEYS = ("data.path",)  # the page may be published; a local path of patient data must not be


@dataclass(frozen=True)
class RunReport:
    """A run's record, recipe, metrics by step, rollouts of the last step, and evaluations by directory.

    `dev` are the evaluations during training.
    """

    run: RunRecord
    recipe: Recipe
    metrics: tuple[dict[str, Any], ...]
    rollouts: tuple[dict[str, Any], ...]
    evaluations: Mapping[Path, EvalReport]
    dev: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class RewardSummary:
    """One reward over a run: means over the first and the last steps, and its share of the final weighted sum."""

    name: str
    weight: float
    first: float
    last: float
    share: float


def read(run: Run) -> RunReport:
    """Read a run directory and score its evaluations by the current rules.

    Raises:
        RunError: an evaluation lacks completions.
    """
    rollouts = run.rows("rollouts.jsonl")
    metrics, dev_rows = curves_of(run)
    last = max((row["step"] for row in rollouts), default=0)
    return RunReport(
        run=run.record,
        recipe=run.recipe,
        metrics=metrics,
        rollouts=tuple(row for row in rollouts if row["step"] == last),
        evaluations={folder: report(folder) for folder in results_folder.evaluations(run.folder)},
        dev=dev_rows,
    )


def curves_of(run: Run) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    """The metrics of a run by step, and its evaluations during training."""
    metrics = (*run.rows("metrics.jsonl"), *run.rows("canaries.jsonl"))
    return metrics, tuple(dev.comparable(run.rows(dev.FILE)))


def settings(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Key, value and provenance of every setting; the provenance of a section applies to all keys in it."""
    result: list[tuple[str, str, str]] = []

    def walk(prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict):
                walk(f"{key}.", value)
            elif key not in PRIVATE_KEYS:
                shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                result.append((key, shown, _provenance(key, recipe.provenance)))

    public = recipe.model_copy(update={"data": recipe.data.with_paths(lambda _: None)})
    values = public.model_dump(mode="json", exclude={"about", "provenance", "track"})
    for entry in values["data"]["sources"]:
        del entry["path"]
    walk("", values)
    return result


def rewards(content: RunReport) -> list[RewardSummary]:
    """Summaries of the recipe's rewards that were computed at least once."""
    means = []
    for reward in content.recipe.method.reward_specs:
        logged = (row.get(f"rewards/{reward.name}") for row in content.metrics)
        values = [value for value in logged if value is not None]  # None: no sample of the step had this reward
        if values:
            first, last = values[:STEPS_AVERAGED], values[-STEPS_AVERAGED:]
            means.append((reward.name, reward.weight, sum(first) / len(first), sum(last) / len(last)))
    total = sum(weight * last for _, weight, _, last in means)
    return [
        RewardSummary(name, weight, first, last, weight * last / total if total else 0.0)
        for name, weight, first, last in means
    ]


def _provenance(key: str, known: Mapping[str, str]) -> str:
    parts = key.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((known[name] for name in names if name in known), "")
