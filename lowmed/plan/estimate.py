"""What a run will take on one card: peak by phase, a verdict, what would save memory, and how long it takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lowmed.models import Architecture
from lowmed.plan import calibration, cards, memory, sequence_lengths, speed
from lowmed.plan.batch import choose_batch
from lowmed.plan.calibration import MeasuredRun, MemoryScale
from lowmed.plan.cards import Card
from lowmed.plan.workload import GIB, Batch, Terms, Workload
from lowmed.recipe import Recipe

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
        sft: a round of SFT of `lowmed bridge`, where the recipe has a `bridge` section.
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
    recipe: Recipe,
    model: Architecture,
    card: Card,
    *,
    known: Sequence[MeasuredRun] | None = None,
    row_lengths: sequence_lengths.SequenceLengths | None = None,
) -> Estimate:
    """What a recipe takes on a card.

    Args:
        recipe: the recipe.
        model: its model's sizes.
        card: where.
        known: measured rows; by default all that are at hand.
        row_lengths: of the rows; by default what is known of the data.
    """
    known = calibration.rows() if known is None else known
    scale = calibration.scale(card.name, known)
    row_lengths = row_lengths or sequence_lengths.sequence_lengths(recipe)
    cut = _batch(recipe, model, card, scale, row_lengths)
    sizes = Workload(recipe, model, row_lengths, cut, 4 if card.precision == "fp32" else 2)
    terms = memory.phases(sizes)
    sft = None
    if recipe.bridge:
        stage = recipe.model_copy(update={"method": recipe.bridge.sft, "bridge": None})
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


def suggestions(result: Estimate) -> list[Suggestion]:
    """The changes that save memory, the cheapest first: those that keep the result before those that do not."""
    changed, other, section = result.sizes, result.gib.get(SFT_ROUND, 0.0), "method."
    if result.sft and result.phase == SFT_ROUND:
        changed, other, section = result.sft.sizes, _peak(result.sizes, result.scale), "bridge.sft."
    saved = []
    for override, costs, sizes in _changes(changed, result.card):
        saves = result.peak_gib - max(other, _peak(_cut_anew(sizes, result), result.scale))
        if saves >= 0.05:
            saved.append(Suggestion(override.replace("method.", section), saves, costs))
    return saved[:SUGGESTED_KEYS]


def _changes(sizes: Workload, card: Card) -> Iterator[tuple[str, str, Workload]]:
    """Overrides from the cheapest to the dearest, their cost, and what runs then."""
    method, cut, recipe = sizes.recipe.method, sizes.batch, sizes.recipe
    fewer = [rows for rows in range(1, cut.per_device_train_batch_size) if method.rows_per_step % rows == 0]

    def longer(other: Workload) -> str:
        times = speed.training(other, card) / speed.training(sizes, card)
        told = f"training takes about {times:.1f} times as long (est.)" if card.speed else "longer training"
        return f"{told}; the same result up to rounding"

    if fewer:
        smaller = replace(sizes, batch=replace(cut, per_device_train_batch_size=fewer[-1]))
        yield f"method.per_device_train_batch_size={fewer[-1]}", longer(smaller), smaller
    if not cut.gradient_checkpointing:
        again = replace(sizes, batch=replace(cut, gradient_checkpointing=True))
        yield "method.gradient_checkpointing=true", longer(again), again
    if recipe.model.load_in == "16bit":
        model = recipe.model.model_copy(update={"load_in": "4bit"})
        yield "model.load_in=4bit", "slower steps, rounded weights", _with(sizes, model=model)
    if sizes.lengths.image >= 8 * max(1, sizes.lengths.images):
        ceiling = sizes.lengths.image // max(1, sizes.lengths.images) // 2
        model = recipe.model.model_copy(update={"max_image_tokens": ceiling})
        shorter = replace(sizes.lengths, image=sizes.lengths.image // 2)
        yield (
            f"model.max_image_tokens={ceiling}",
            "detail of the pictures",
            replace(_with(sizes, model=model), lengths=shorter),
        )
    if method.max_sampled_tokens:
        tokens = method.max_sampled_tokens // 2
        halved = _with(sizes, method=method.limited_to(tokens))
        yield (
            f"method.max_completion_length={tokens}",
            "longer replies are cut",
            replace(halved, lengths=replace(sizes.lengths, completion=tokens)),
        )
    asked = recipe.eval.model_copy(update={"max_new_tokens": recipe.eval.max_new_tokens // 2})
    yield f"eval.max_new_tokens={asked.max_new_tokens}", "longer replies are cut", _with(sizes, eval=asked)
    if recipe.lora.rank > 4:
        lora = recipe.lora.model_copy(update={"rank": recipe.lora.rank // 2})
        yield f"lora.rank={lora.rank}", "capacity of the adapter", _with(sizes, lora=lora)


def _cut_anew(sizes: Workload, result: Estimate) -> Workload:
    """As it would run: the same rows in a forward, but as many completions and answers at once as then have room."""
    cut = sizes.batch
    said = {
        "per_device_train_batch_size": cut.per_device_train_batch_size,
        "gradient_checkpointing": cut.gradient_checkpointing,
    }
    recipe = sizes.recipe.model_copy(update={"method": sizes.recipe.method.model_copy(update=said)})
    return replace(sizes, batch=_batch(recipe, sizes.model, result.card, result.scale, sizes.lengths))


def _batch(
    recipe: Recipe, model: Architecture, card: Card, scale: MemoryScale, known: sequence_lengths.SequenceLengths
) -> Batch:
    gib = card.gib if card.name != cards.CPU else 0.0
    return choose_batch(recipe, model, gib, card=card.name, precision=card.precision, scale=scale, row_lengths=known)


def _with(sizes: Workload, **changed: Any) -> Workload:
    return replace(sizes, recipe=sizes.recipe.model_copy(update=changed))


def _peak(sizes: Workload, scale: MemoryScale) -> float:
    return max(scale.gib(parts) for parts in memory.phases(sizes).values())


def _most_rows(sizes: Workload, card: Card, scale: MemoryScale, gradient_checkpointing: bool) -> int:
    """The most rows of one forward that still fit, whatever the recipe's update has; 0 where not one does."""

    def fits(rows: int) -> bool:
        tried = replace(sizes, batch=Batch(rows, sizes.batch.rows_per_generate, gradient_checkpointing))
        result = memory.phases(tried)
        return all(scale.gib(result[phase]) <= card.gib for phase in ("backward", "scoring forward") if phase in result)

    low, high = 0, MOST_ROWS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
