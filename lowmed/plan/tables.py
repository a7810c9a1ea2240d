"""The planner's tables in the documents: all recipes on all cards, and how far off the plan was."""

from collections.abc import Sequence
from pathlib import Path

from lowmed.plan import architecture, calibration, cards
from lowmed.plan.calibration import MeasuredRun
from lowmed.plan.estimate import estimate
from lowmed.recipe.io import load_recipe, shipped_recipes

SHORT = {"fits": "fits", "tight": "tight", "does not fit": "no"}


def recipes_table() -> str:
    """All shipped recipes on all cards as Markdown, from what ships alone; an estimate has a ~."""
    known = calibration.shipped()
    lines = [
        "GiB at the peak of training or evaluation; ~ is an estimate, the card not being measured yet.",
        "",
        f"| recipe | {' | '.join(f'{card.name}, {card.gib:.1f}' for card in cards.CARDS.values())} |",
        f"| --- |{' --- |' * len(cards.CARDS)}",
    ]
    for name in shipped_recipes():
        recipe = load_recipe(name)
        model = architecture.read_architecture(recipe.model)
        cells = [estimate(recipe, model, card, known=known) for card in cards.CARDS.values()]
        told = [f"{SHORT[cell.verdict]} {'~' if cell.estimated else ''}{cell.peak_gib:.0f}" for cell in cells]
        lines.append(f"| `{name}` | {' | '.join(told)} |")
    return "\n".join(lines)


def errors_table(known: Sequence[MeasuredRun]) -> str:
    """Each measured phase against the bare terms and against the calibrated plan, as Markdown."""
    lines = [
        "| card | model | run | rows x tokens | phase | measured GiB | terms alone | error | calibrated | error |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in known:
        scale = calibration.scale(row.card_name, known)
        recipe = row.recipe
        run = f"{recipe.method.kind}, {recipe.model.load_in}" + (
            ", checkpointing" if row.batch.gradient_checkpointing else ""
        )
        name = Path(recipe.model.name).name
        shape = f"{row.batch.per_device_train_batch_size} x {row.lengths.row}"
        for phase, planned in row.planned_gib.items():
            got = row.gib[phase]
            scaled = scale.context_gib - row.context_gib + scale.factor * planned
            ours = f"{planned:.2f} | {planned / got - 1:+.0%} | {scaled:.2f} | {scaled / got - 1:+.0%}"
            lines.append(f"| {row.card_name} | {name} | {run} | {shape} | {phase} | {got:.2f} | {ours} |")
    return "\n".join(lines)
