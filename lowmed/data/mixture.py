"""The shares of several data sets in the training draws, and the order in which they are drawn."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, islice

from lowmed.data.balance import balanced_shares, require_property
from lowmed.errors import DataError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

TRAIN = "train"
RESOLUTION = 10**9  # shares are whole multiples of its inverse, so that their order has no rounding errors


def part_of_source(split: str, name: str) -> str:
    """The name of a published part of one of several data sets, e.g. `test (slake)`."""
    return f"{split} ({name})"


def shares(spec: DataSpec, train: Sequence[Sample]) -> dict[str, float]:
    """The share of each data set in the training draws; empty if the recipe has no `data.sources`.

    The shares of the recipe, divided by their sum; or from the number of training rows n: in proportion to
    n ** (1 / mixing_temperature), which without a temperature is n; or balanced (`data.balance=source`).

    Args:
        spec: the data of the recipe.
        train: the samples to train on.

    Raises:
        DataError: a data set has no sample to train on.
    """
    if not spec.sources:
        return {}
    rows = Counter(sample.source for sample in train)
    if empty := [name for name in spec.names if not rows[name]]:
        raise DataError(
            f"{', '.join(f'`{name}`' for name in empty)}: no row is left to train on",
            "data.sources",
            "remove it from data.sources, or change data.modality, data.difficulty or prompts.train, which omit rows",
        )
    if spec.balance == "source":
        equal = balanced_shares(rows)
        return {name: equal[name] for name in spec.names}
    power = 1 / (spec.mixing_temperature or 1)
    weights = [
        rows[name] ** power if entry.share is None else entry.share
        for name, entry in zip(spec.names, spec.sources, strict=True)
    ]
    return {name: weight / sum(weights) for name, weight in zip(spec.names, weights, strict=True)}


def require_draws(spec: DataSpec, train: Sequence[Sample]) -> None:
    """Check that every data set can be drawn from, and that the property to balance has values.

    Raises:
        DataError: a data set has no sample to train on, or the samples lack the property.
    """
    shares(spec, train)
    if name := balance_within(spec):
        require_property(train, name)


def balance_within(spec: DataSpec) -> str | None:
    """The property whose values are balanced within each data set; None if there is none."""
    return None if spec.sources and spec.balance == "source" else spec.balance


def interleave(weights: Sequence[float]) -> Iterator[int]:
    """Endless positions of the weights: among the first n, each is there n times its share, within less than one.

    Of the positions that are not ahead of their share, the one comes next whose next turn has the earliest deadline
    (the schedule of Baruah et al. 1996, which on one machine always meets the deadlines). A tie goes to the first.

    Args:
        weights: positive numbers in proportion to the shares.
    """
    units = [max(1, round(weight / sum(weights) * RESOLUTION)) for weight in weights]
    total, drawn = sum(units), [0] * len(units)
    for length in count(1):
        due = [number for number, weight in enumerate(units) if drawn[number] * total < weight * length]
        chosen = min(due, key=lambda number: -(-(drawn[number] + 1) * total // units[number]))
        drawn[chosen] += 1
        yield chosen


def interleaved(parts: Sequence[Sequence[Sample]]) -> tuple[Sample, ...]:
    """The samples of all parts, each in its order, so that the first ones represent the parts by their sizes."""
    filled = [part for part in parts if part]
    rows, sizes = [iter(part) for part in filled], [len(part) for part in filled]
    return tuple(next(rows[number]) for number in islice(interleave(sizes), sum(sizes))) if filled else ()


def by_turns(samples: Sequence[Sample], sources: Sequence[str]) -> tuple[Sample, ...]:
    """The samples in an order whose first ones represent all sources; unchanged without sources."""
    if not sources:
        return tuple(samples)
    return interleaved([[sample for sample in samples if sample.source == name] for name in sources])
