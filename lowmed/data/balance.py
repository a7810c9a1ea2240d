"""Draw training samples so that each value of a property comes equally often (`data.balance`)."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lowmed.answer import normalize
from lowmed.errors import DataError
from lowmed.sample import Sample

MAX_REPEATS = 4  # a row is drawn at most this many times as often as without balance
SHOWN = 6
FIELDS = ("answer", "kind", "modality", "topic", "source")
Cell = tuple[str, str]  # the rows among which values are balanced, and a value


def property_of(sample: Sample, name: str) -> str:
    """The value of a property of a sample: a field, or a column of its strata; "" if it has none."""
    match name:
        case "answer":
            return normalize(sample.answer)
        case "kind" | "modality" | "topic" | "source":
            return str(getattr(sample, name))
        case _:
            return dict(sample.strata).get(name, "")


def balanced_shares(counts: Mapping[str, int]) -> dict[str, float]:
    """The share of each value: equal, but at most `MAX_REPEATS` times its share of the rows.

    What the limit takes from rare values is divided equally among the others: share = min(level, 4 n / N), with the
    level at which the shares add up to 1.

    Args:
        counts: the rows of each value.
    """
    total = sum(counts.values())
    result: dict[str, float] = {}
    rest, open_values = 1.0, len(counts)
    for value, rows in sorted(counts.items(), key=lambda item: item[1]):
        result[value] = min(rest / open_values, MAX_REPEATS * rows / total)
        rest -= result[value]
        open_values -= 1
    return result


def cell_shares(samples: Sequence[Sample], name: str) -> dict[Cell, float]:
    """The share of each value of a property in the draws of these samples.

    Rows without a value keep their share. Answers are balanced within each kind of question, so that the kinds keep
    theirs: else a hundred different open answers would displace yes and no.
    """
    counts = Counter(_cell(sample, name) for sample in samples)
    blocks: dict[str, dict[str, int]] = {}
    for (block, value), rows in counts.items():
        blocks.setdefault(block, {})[value] = rows
    return {
        (block, value): share * sum(values.values()) / len(samples)
        for block, values in blocks.items()
        for value, share in balanced_shares(values).items()
    }


def balanced_epochs(samples: Sequence[Sample], name: str, draw: random.Random) -> Iterator[list[int]]:
    """Endless epochs of as many draws as there are samples, as positions of the samples in random order.

    The rows of a value are all drawn before one of them is drawn again. Fractions of a draw are carried over to the
    next epoch.
    """
    members: dict[Cell, list[int]] = {}
    for number, sample in enumerate(samples):
        members.setdefault(_cell(sample, name), []).append(number)
    wanted = {cell: share * len(samples) for cell, share in cell_shares(samples, name).items()}
    due = dict.fromkeys(wanted, 0.0)
    decks: dict[Cell, list[int]] = {cell: [] for cell in wanted}
    while True:
        due = {cell: rest + wanted[cell] for cell, rest in due.items()}
        taken = {cell: int(rows) for cell, rows in due.items()}
        by_rest = sorted(due, key=lambda cell: (taken[cell] - due[cell], cell))
        for cell in by_rest[: len(samples) - sum(taken.values())]:
            taken[cell] += 1
        epoch = []
        for cell in sorted(taken):
            due[cell] -= taken[cell]
            for _ in range(taken[cell]):
                if not decks[cell]:
                    decks[cell] = draw.sample(members[cell], len(members[cell]))
                epoch.append(decks[cell].pop())
        draw.shuffle(epoch)
        yield epoch


def require_property(samples: Sequence[Sample], name: str) -> None:
    """Check that the samples have at least two values of a property.

    Raises:
        DataError: they do not, so that there is nothing to balance.
    """
    values = _values(samples, name)
    if len(values) > 1:
        return
    columns = sorted({column for sample in samples for column, _ in sample.strata})
    known = [other for other in dict.fromkeys((*FIELDS, *columns)) if len(_values(samples, other)) > 1]
    raise DataError(
        f"the training questions have {'one value' if values else 'no value'} of `{name}` to balance",
        f"data.balance={name}",
        f"use one of {', '.join(known)}, or leave data.balance out" if known else "leave data.balance out",
    )


def _values(samples: Sequence[Sample], name: str) -> set[str]:
    return {property_of(sample, name) for sample in samples} - {""}


def describe_balance(samples: Sequence[Sample], name: str) -> list[str]:
    """The shares of the values with balance and without, the largest ones, as lines to print."""
    counts = Counter(_cell(sample, name) for sample in samples)
    cells = cell_shares(samples, name)
    shown = sorted(cells, key=lambda cell: (-cells[cell], cell))
    texts = [
        f"{_label(cell, name)} {cells[cell]:.3f} (of the rows {counts[cell] / len(samples):.3f})"
        for cell in shown[:SHOWN]
    ]
    more = f", and {len(shown) - SHOWN:,} more" if len(shown) > SHOWN else ""
    return [f"balanced by {name}: {', '.join(texts)}{more}; no row is drawn more than {MAX_REPEATS} times as often"]


def _label(cell: Cell, name: str) -> str:
    block, value = cell
    return f"{block} {value}" if name == "answer" else value or f"without {name}"


def _cell(sample: Sample, name: str) -> Cell:
    value = property_of(sample, name)
    if not value:
        return "without", ""
    return (sample.kind, value) if name == "answer" else ("", value)
