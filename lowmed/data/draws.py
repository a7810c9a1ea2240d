"""What a run will draw from each data set: its share of the training rows, and how often each question is seen."""

from collections.abc import Sequence

from lowmed.data.balance import describe_balance
from lowmed.data.mixture import balance_within, shares
from lowmed.data.split import DataSplit
from lowmed.recipe import Recipe
from lowmed.sample import Sample

MANY_EPOCHS = 10


def describe_draws(recipe: Recipe, data_split: DataSplit) -> list[str]:
    """One line for each data set, a warning for one that is repeated very often, and the shares of balanced values.

    Args:
        recipe: the recipe.
        data_split: its data, ready to train on.
    """
    spec, draws = recipe.data, recipe.method.draws
    samples, unit = data_split.drawn, recipe.method.drawn_unit
    balance, known = balance_within(spec), shares(spec, samples)
    if not known:
        lines = [f"{draws:,} draws from {_seen(samples, draws, unit)}", *_often(spec.name, samples, draws)]
        return lines + (describe_balance(samples, balance) if balance else [])
    width = max(map(len, known))
    lines, notes = [], []
    for name, share in known.items():
        rows = [sample for sample in samples if sample.source == name]
        held_out = sum(sample.source == name for part in data_split.held_out.values() for sample in part)
        apart = f"held out {held_out:,}" if held_out else "NO question is held out"
        seen = _seen(rows, share * draws, unit)
        lines.append(f"{name:<{width}}  share {share:.3f} of {draws:,} draws: {seen}; {apart}")
        notes += _often(name, rows, share * draws)
        notes += [f"{name} {line}" for line in describe_balance(rows, balance)] if balance else []
    return lines + notes


def _seen(rows: Sequence[Sample], draws: float, unit: str) -> str:
    images = {image for row in rows for image in row.images}
    return f"{len(rows):,} {unit} on {len(images):,} images, each seen {_times(draws / len(rows))} times"


def _times(epochs: float) -> str:
    return f"{epochs:.1f}" if epochs >= 1 else f"{epochs:.2g}"


def _often(name: str, rows: Sequence[Sample], draws: float) -> list[str]:
    epochs = draws / len(rows)
    if epochs <= MANY_EPOCHS:
        return []
    return [f"{name} is repeated very often ({epochs:.0f} times); lower its share or train for fewer steps"]
