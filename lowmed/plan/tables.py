"""The planner's tables in the documentation: all recipes on all GPUs, and the error of each measured value."""

from collections.abc import Sequence
from pathlib import Path

from lowmed import architectures
from lowmed.models import FAMILIES, Architecture
from lowmed.plan import calibration, cards
from lowmed.plan.calibration import MeasuredRun
from lowmed.plan.estimate import estimate_all
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe, shipped_recipes

SHORT = {"fits": "fits", "tight": "tight", "does not fit": "no", "needs bf16": "needs bf16"}


def recipes_table() -> str:
    """All shipped recipes on all GPUs as Markdown, calibrated by the shipped measured runs only."""
    measured = calibration.shipped_runs()
    lines = [
        "Peak memory of training and evaluation in GiB. `~` is an estimate for a GPU on which no dry run was made.",
        "",
        f"| recipe | {' | '.join(f'{card.name}, {card.gib:.1f}' for card in cards.CARDS.values())} |",
        f"| --- |{' --- |' * len(cards.CARDS)}",
    ]
    for name in shipped_recipes():
        recipe = load_recipe(name)
        model = architectures.read_architecture(recipe.model)
        lines.append(f"| `{name}` | {' | '.join(_cells(recipe, model, measured))} |")
    return "\n".join(lines)


def models_table() -> str:
    """All models whose dimensions ship with lowmed on all GPUs as Markdown: `rarl`, for text-only ones `text-cot`."""
    measured = calibration.shipped_runs()
    lines = [
        f"| model | recipe | {' | '.join(f'{card.name}, {card.gib:.1f}' for card in cards.CARDS.values())} |",
        f"| --- | --- |{' --- |' * len(cards.CARDS)}",
    ]
    for name, model in architectures.shipped().items():
        recipe_name = "text-cot" if FAMILIES[model.family].text_only else "rarl"
        recipe = load_recipe(recipe_name, [f"model.name={name}"])
        lines.append(f"| {name} | `{recipe_name}` | {' | '.join(_cells(recipe, model, measured))} |")
    return "\n".join(lines)


def _cells(recipe: Recipe, model: Architecture, measured: Sequence[MeasuredRun]) -> list[str]:
    estimates = estimate_all(recipe, model, cards.CARDS.values(), measured=measured)
    return [f"{SHORT[result.verdict]} {'' if result.calibrated else '~'}{result.peak_gib:.0f}" for result in estimates]


def errors_table(measured: Sequence[MeasuredRun]) -> str:
    """Each measured phase next to the uncalibrated terms and the calibrated estimate, as Markdown.

    Args:
        measured: the runs of the table. They also calibrate it.
    """
    lines = [
        "| GPU | model | run | rows x tokens | phase | measured GiB | terms alone | error | calibrated | error |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in measured:
        scale = calibration.memory_scale(run.card_name, measured)
        recipe, batch = run.recipe, run.batch
        settings = f"{recipe.method.kind}, {recipe.model.load_in}"
        settings += ", checkpointing" if batch.gradient_checkpointing else ""
        shape = f"{batch.per_device_train_batch_size} x {run.lengths.row}"
        for phase, planned in run.planned_gib.items():
            gib = run.gib[phase]
            scaled = scale.context_gib - run.context_gib + scale.factor * planned
            errors = f"{planned:.2f} | {planned / gib - 1:+.0%} | {scaled:.2f} | {scaled / gib - 1:+.0%}"
            name = Path(recipe.model.name).name
            lines.append(f"| {run.card_name} | {name} | {settings} | {shape} | {phase} | {gib:.2f} | {errors} |")
    return "\n".join(lines)
