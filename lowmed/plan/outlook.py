"""What a run will take on one card: peak by phase, a verdict, what would save memory, and how long it takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lowmed import recipe
from lowmed.plan import cards, lengths, measured, memory, speed
from lowmed.plan.architecture import Architecture
from lowmed.plan.batch import batch
from lowmed.plan.cards import Card
from lowmed.plan.measured import Row, Scale
from lowmed.plan.memory import GIB, Batch, Sizes, Terms

TIGHT = 0.1  # a smaller share of the card left free is tight
KNOBS = 3
MOST_ROWS = 4096
Verdict = Literal["fits", "tight", "does not fit"]


@dataclass(frozen=True)
class Knob:
    """A change of the recipe, what it saves at the peak in GiB, and what it costs in words."""

    override: str
    saves_gib: float
    costs: str


@dataclass(frozen=True)
class Outlook:
    """A run on a card.

    Attributes:
        gib: peak of each phase, GiB, what is taken beside torch included.
        host_gib: of merging the adapter, in main memory.
        stock_gib: the peak, were every image encoded anew for every row and pass.
        most_rows: rows that would fit into one forward, without and with checkpointing.
    """

    card: Card
    sizes: Sizes
    scale: Scale
    terms: dict[str, Terms]
    gib: dict[str, float]
    host_gib: float
    stock_gib: float
    most_rows: tuple[int, int]
    time: speed.Time | None

    @property
    def peak_gib(self) -> float:
        """The most that any phase takes."""
        return max(self.gib.values())

    @property
    def phase(self) -> str:
        """The phase that takes it."""
        return max(self.gib, key=self.gib.__getitem__)

    @property
    def margin_gib(self) -> float:
        """What is left free; below 0 where it does not fit."""
        return self.card.gib - self.peak_gib

    @property
    def verdict(self) -> Verdict:
        """Whether it fits."""
        if self.margin_gib < 0:
            return "does not fit"
        return "tight" if self.margin_gib < TIGHT * self.card.gib else "fits"


def outlook(
    plan: recipe.Recipe,
    model: Architecture,
    card: Card,
    *,
    known: Sequence[Row] | None = None,
    row_lengths: lengths.Lengths | None = None,
) -> Outlook:
    """What a recipe takes on a card.

    Args:
        plan: the recipe.
        model: its model's sizes.
        card: where.
        known: measured rows; by default all that are at hand.
        row_lengths: of the rows; by default what is known of the data.
    """
    known = measured.rows() if known is None else known
    scale = measured.scale(card.name, known)
    row_lengths = row_lengths or lengths.of(plan)
    gib = card.gib if card.name != cards.CPU else 0.0
    cut = batch(plan, model, gib, card=card.name, precision=card.precision, scale=scale, row_lengths=row_lengths)
    sizes = Sizes(plan, model, row_lengths, cut, 4 if card.precision == "fp32" else 2)
    terms = memory.phases(sizes)
    return Outlook(
        card,
        sizes,
        scale,
        terms,
        {phase: scale.gib(parts) for phase, parts in terms.items()},
        sum(memory.merge(sizes).values()) / GIB,
        _peak(replace(sizes, tower="stock"), scale),
        (_most_rows(sizes, card, scale, False), _most_rows(sizes, card, scale, True)),
        speed.time(sizes, card, known),
    )


def knobs(found: Outlook) -> list[Knob]:
    """The changes that save memory, the cheapest first: those that keep the result before those that do not."""
    saved = []
    for override, costs, sizes in _changes(found.sizes):
        saves = found.peak_gib - _peak(sizes, found.scale)
        if saves >= 0.05:
            saved.append(Knob(override, saves, costs))
    return saved[:KNOBS]


def _changes(sizes: Sizes) -> Iterator[tuple[str, str, Sizes]]:
    """Overrides from the cheapest to the dearest, their cost, and what runs then."""
    method, cut, plan = sizes.plan.method, sizes.batch, sizes.plan
    fewer = [rows for rows in range(1, cut.rows_per_forward) if method.rows_per_update % rows == 0]
    if fewer:
        smaller = replace(sizes, batch=replace(cut, rows_per_forward=fewer[-1]))
        yield f"method.rows_per_forward={fewer[-1]}", "little time; the same result up to rounding", smaller
    if not cut.checkpointing:
        again = replace(sizes, batch=replace(cut, checkpointing=True))
        longer = speed.training_operations(again) / speed.training_operations(sizes)
        yield "method.checkpointing=true", f"{longer:.1f} times the operations of training; the same result", again
    if plan.model.load_in == "16bit":
        model = plan.model.model_copy(update={"load_in": "4bit"})
        yield "model.load_in=4bit", "slower steps, rounded weights", _with(sizes, model=model)
    if sizes.lengths.image >= 8 * max(1, sizes.lengths.images):
        ceiling = sizes.lengths.image // max(1, sizes.lengths.images) // 2
        model = plan.model.model_copy(update={"max_image_tokens": ceiling})
        shorter = replace(sizes.lengths, image=sizes.lengths.image // 2)
        yield (
            f"model.max_image_tokens={ceiling}",
            "detail of the pictures",
            replace(_with(sizes, model=model), lengths=shorter),
        )
    if isinstance(method, recipe.Grpo):
        tokens = method.max_new_tokens // 2
        halved = _with(sizes, method=method.model_copy(update={"max_new_tokens": tokens}))
        yield (
            f"method.max_new_tokens={tokens}",
            "longer replies are cut",
            replace(halved, lengths=replace(sizes.lengths, reply=tokens)),
        )
    asked = plan.eval.model_copy(update={"max_new_tokens": plan.eval.max_new_tokens // 2})
    yield f"eval.max_new_tokens={asked.max_new_tokens}", "longer replies are cut", _with(sizes, eval=asked)
    if plan.lora.rank > 4:
        lora = plan.lora.model_copy(update={"rank": plan.lora.rank // 2})
        yield f"lora.rank={lora.rank}", "capacity of the adapter", _with(sizes, lora=lora)


def _with(sizes: Sizes, **changed: Any) -> Sizes:
    return replace(sizes, plan=sizes.plan.model_copy(update=changed))


def _peak(sizes: Sizes, scale: Scale) -> float:
    return max(scale.gib(parts) for parts in memory.phases(sizes).values())


def _most_rows(sizes: Sizes, card: Card, scale: Scale, checkpointing: bool) -> int:
    """The most rows of one forward that still fit, whatever the recipe's update has; 0 where not one does."""

    def fits(rows: int) -> bool:
        tried = replace(sizes, batch=Batch(rows, sizes.batch.rows_per_generate, checkpointing))
        found = memory.phases(tried)
        return all(scale.gib(found[phase]) <= card.gib for phase in ("backward", "scoring forward") if phase in found)

    low, high = 0, MOST_ROWS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
