"""What a run will take on one card: peak by phase, a verdict, what would save memory, and how long it takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lowmed.plan import calibration, cards, memory, sequence_lengths, speed
from lowmed.plan.architecture import Architecture
from lowmed.plan.batch import choose_batch
from lowmed.plan.calibration import MeasuredRun, MemoryScale
from lowmed.plan.cards import Card
from lowmed.plan.workload import GIB, Batch, Terms, Workload
from lowmed.recipe import GrpoSpec, Recipe

TIGHT = 0.1  # a smaller share of the card left free is tight
SUGGESTED_KEYS = 3
SFT_ROUND = "SFT backward"  # the phase of a bridge's rounds of SFT
MOST_ROWS = 4096
Verdict = Literal["fits", "tight", "does not fit"]


@dataclass(frozen=True)
class Suggestion:
    """A change of the recipe, what it saves at the peak in GiB, and what it costs in words."""

    override: str
    saves_gib: float
    costs: str


@dataclass(frozen=True)
class Estimate:
    """A run on a card.

    Attributes:
        gib: peak of each phase, GiB, what is taken beside torch included.
        host_gib: of merging the adapter, in main memory.
        stock_gib: the peak, were every image encoded anew for every row and pass.
        most_rows: rows that would fit into one forward, without and with checkpointing.
        sft: a round of SFT of `lowmed bridge`, where the recipe has a boundary.
    """

    card: Card
    sizes: Workload
    scale: MemoryScale
    terms: dict[str, Terms]
    gib: dict[str, float]
    host_gib: float
    stock_gib: float
    most_rows: tuple[int, int]
    time: speed.Time | None
    sft: "Estimate | None" = None

    @property
    def peak_gib(self) -> float:
        """The most that any phase takes."""
        return max(self.gib.values())

    @property
    def estimated(self) -> bool:
        """Whether no rehearsal on such a card stands behind the memory."""
        return self.scale.rows == 0

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


def estimate(
    plan: Recipe,
    model: Architecture,
    card: Card,
    *,
    known: Sequence[MeasuredRun] | None = None,
    row_lengths: sequence_lengths.SequenceLengths | None = None,
) -> Estimate:
    """What a recipe takes on a card.

    Args:
        plan: the recipe.
        model: its model's sizes.
        card: where.
        known: measured rows; by default all that are at hand.
        row_lengths: of the rows; by default what is known of the data.
    """
    known = calibration.rows() if known is None else known
    scale = calibration.scale(card.name, known)
    row_lengths = row_lengths or sequence_lengths.sequence_lengths(plan)
    cut = _batch(plan, model, card, scale, row_lengths)
    sizes = Workload(plan, model, row_lengths, cut, 4 if card.precision == "fp32" else 2)
    terms = memory.phases(sizes)
    sft = None
    if plan.boundary:
        stage = plan.model_copy(update={"method": plan.boundary.sft, "boundary": None})
        sft = estimate(stage, model, card, known=known)
        terms[SFT_ROUND] = sft.terms["backward"]
    return Estimate(
        card,
        sizes,
        scale,
        terms,
        {phase: scale.gib(parts) for phase, parts in terms.items()},
        sum(memory.merge(sizes).values()) / GIB,
        max(_peak(replace(sizes, tower="stock"), scale), sft.stock_gib if sft else 0.0),
        (_most_rows(sizes, card, scale, False), _most_rows(sizes, card, scale, True)),
        speed.estimate_time(sizes, card, known),
        sft,
    )


def suggestions(found: Estimate) -> list[Suggestion]:
    """The changes that save memory, the cheapest first: those that keep the result before those that do not."""
    changed, other, section = found.sizes, found.gib.get(SFT_ROUND, 0.0), "method."
    if found.sft and found.phase == SFT_ROUND:
        changed, other, section = found.sft.sizes, _peak(found.sizes, found.scale), "boundary.sft."
    saved = []
    for override, costs, sizes in _changes(changed, found.card):
        saves = found.peak_gib - max(other, _peak(_cut_anew(sizes, found), found.scale))
        if saves >= 0.05:
            saved.append(Suggestion(override.replace("method.", section), saves, costs))
    return saved[:SUGGESTED_KEYS]


def _changes(sizes: Workload, card: Card) -> Iterator[tuple[str, str, Workload]]:
    """Overrides from the cheapest to the dearest, their cost, and what runs then."""
    method, cut, plan = sizes.plan.method, sizes.batch, sizes.plan
    fewer = [rows for rows in range(1, cut.rows_per_forward) if method.rows_per_update % rows == 0]

    def longer(other: Workload) -> str:
        times = speed.training(other, card) / speed.training(sizes, card)
        told = f"training takes about {times:.1f} times as long (est.)" if card.speed else "longer training"
        return f"{told}; the same result up to rounding"

    if fewer:
        smaller = replace(sizes, batch=replace(cut, rows_per_forward=fewer[-1]))
        yield f"method.rows_per_forward={fewer[-1]}", longer(smaller), smaller
    if not cut.checkpointing:
        again = replace(sizes, batch=replace(cut, checkpointing=True))
        yield "method.checkpointing=true", longer(again), again
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
    if isinstance(method, GrpoSpec):
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


def _cut_anew(sizes: Workload, found: Estimate) -> Workload:
    """As it would run: the same rows in a forward, but as many replies and answers at once as then have room."""
    cut = sizes.batch
    said = {"rows_per_forward": cut.rows_per_forward, "checkpointing": cut.checkpointing}
    plan = sizes.plan.model_copy(update={"method": sizes.plan.method.model_copy(update=said)})
    return replace(sizes, batch=_batch(plan, sizes.model, found.card, found.scale, sizes.lengths))


def _batch(
    plan: Recipe, model: Architecture, card: Card, scale: MemoryScale, known: sequence_lengths.SequenceLengths
) -> Batch:
    gib = card.gib if card.name != cards.CPU else 0.0
    return choose_batch(plan, model, gib, card=card.name, precision=card.precision, scale=scale, row_lengths=known)


def _with(sizes: Workload, **changed: Any) -> Workload:
    return replace(sizes, plan=sizes.plan.model_copy(update=changed))


def _peak(sizes: Workload, scale: MemoryScale) -> float:
    return max(scale.gib(parts) for parts in memory.phases(sizes).values())


def _most_rows(sizes: Workload, card: Card, scale: MemoryScale, checkpointing: bool) -> int:
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
