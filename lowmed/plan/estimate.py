"""The estimate for a run on one GPU: peak memory by phase, a verdict, ways to save memory, and the time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lowmed.models import FAMILIES, Architecture
from lowmed.plan import calibration, cards, memory, speed
from lowmed.plan.batch import choose_batch
from lowmed.plan.calibration import MeasuredRun, MemoryScale
from lowmed.plan.cards import Card
from lowmed.plan.sequence_lengths import SequenceLengths, sequence_lengths
from lowmed.plan.workload import GIB, Batch, Terms, Workload
from lowmed.recipe import Recipe

TIGHT = 0.1  # with a smaller share of the memory free, the verdict is `tight`
MAX_SUGGESTIONS = 3
MIN_SAVING_GIB = 0.05
SFT_BACKWARD = "SFT backward"  # the phase of the SFT rounds of `lowmed bridge`
MAX_ROWS = 4096
Verdict = Literal["fits", "tight", "does not fit", "needs bf16"]


@dataclass(frozen=True)
class Suggestion:
    """A change of the recipe that saves memory.

    Attributes:
        override: the change, as `key=value`.
        saves_gib: reduction of the peak, in GiB.
        slowdown: training time afterwards over that before; None if the change is not one of batch sizes.
        cost: what the change costs, in words.
    """

    override: str
    saves_gib: float
    slowdown: float | None
    cost: str


@dataclass(frozen=True)
class Estimate:
    """The estimate for a run on one GPU.

    Attributes:
        card: the GPU.
        workload: recipe, model, row lengths and batch.
        scale: calibration of the memory estimate.
        terms: bytes of each memory term, by phase.
        gib: peak memory of each phase in GiB, including memory outside of torch.
        merge_gib: main memory for merging the adapter, in GiB.
        stock_vision_gib: the peak if transformers' code encoded the images of every row in every pass, in GiB.
        max_rows: maximum number of rows in one forward pass, without and with gradient checkpointing.
        time: time of an optimizer step; None if the speed of the GPU is unknown, or that of the connection between GPUs
            that divide the model.
        sft: the estimate for an SFT round of `lowmed bridge`, if the recipe has a `bridge` section.
    """

    card: Card
    workload: Workload
    scale: MemoryScale
    terms: dict[str, Terms]
    gib: dict[str, float]
    merge_gib: float
    stock_vision_gib: float
    max_rows: tuple[int, int]
    time: speed.Time | None
    sft: "Estimate | None" = None

    @property
    def calibrated(self) -> bool:
        """Whether the memory is calibrated by a dry run on such a GPU."""
        return self.scale.dry_runs > 0

    @property
    def peak_gib(self) -> float:
        """Peak memory of the run in GiB."""
        return max(self.gib.values())

    @property
    def peak_phase(self) -> str:
        """The phase with the peak."""
        return max(self.gib, key=self.gib.__getitem__)

    @property
    def free_gib(self) -> float:
        """Memory that stays free at the peak in GiB; negative if the run does not fit."""
        return self.card.gib - self.peak_gib

    @property
    def main_memory_gib(self) -> float:
        """Main memory of each process in GiB while it reads a model that is divided afterwards; otherwise 0."""
        undivided = replace(self.workload, shards=1)
        return sum(memory.weights(undivided).values()) / GIB if self.workload.shards > 1 else 0.0

    @property
    def verdict(self) -> Verdict:
        """Whether the run fits, or why the GPU cannot compute it."""
        if self.card.precision == "fp16" and not FAMILIES[self.workload.model.family].fp16:
            return "needs bf16"
        if self.free_gib < 0:
            return "does not fit"
        return "tight" if self.free_gib < TIGHT * self.card.gib else "fits"


def estimate(
    recipe: Recipe,
    model: Architecture,
    card: Card,
    *,
    measured: Sequence[MeasuredRun] | None = None,
    row_lengths: SequenceLengths | None = None,
    shards: int = 1,
) -> Estimate:
    """Estimate memory and time of a recipe on a GPU.

    Args:
        recipe: the recipe.
        model: dimensions of its model.
        card: the GPU.
        measured: measured runs that calibrate the estimate; by default all that are stored.
        row_lengths: lengths of the rows; by default from the data set.
        shards: processes with such a GPU each that divide the decoder layers among them.
    """
    measured = calibration.measured_runs() if measured is None else measured
    scale = calibration.memory_scale(card.name, measured)
    row_lengths = row_lengths or sequence_lengths(recipe)
    batch = _batch(recipe, model, card, scale, row_lengths, shards)
    workload = Workload(recipe, model, row_lengths, batch, 4 if card.precision == "fp32" else 2, shards=shards)
    terms = memory.phases(workload)
    sft = None
    if recipe.bridge:
        sft_recipe = recipe.model_copy(update={"method": recipe.bridge.sft, "bridge": None})
        sft = estimate(sft_recipe, model, card, measured=measured, shards=shards)
        terms[SFT_BACKWARD] = sft.terms["backward"]
    return Estimate(
        card,
        workload,
        scale,
        terms,
        {phase: scale.gib(parts) for phase, parts in terms.items()},
        sum(memory.merge(workload).values()) / GIB,
        max(_peak(replace(workload, vision="stock"), scale), sft.stock_vision_gib if sft else 0.0),
        (_max_rows(workload, card, scale, False), _max_rows(workload, card, scale, True)),
        speed.estimate_time(workload, card, measured) if shards == 1 else None,
        sft,
    )


def estimate_all(
    recipe: Recipe,
    model: Architecture,
    gpus: Iterable[Card],
    *,
    measured: Sequence[MeasuredRun] | None = None,
    shards: int = 1,
) -> list[Estimate]:
    """The estimates for several GPUs. Measured runs and row lengths are read once for all of them.

    Args:
        recipe: the recipe.
        model: dimensions of its model.
        gpus: the GPUs.
        measured: as in `estimate`, like the next one.
        shards: processes that divide the decoder layers.
    """
    measured = calibration.measured_runs() if measured is None else measured
    row_lengths = sequence_lengths(recipe)
    return [estimate(recipe, model, card, measured=measured, row_lengths=row_lengths, shards=shards) for card in gpus]


def suggestions(result: Estimate) -> list[Suggestion]:
    """Changes that save memory, the cheapest first: those that keep the result come before those that change it."""
    workload, other_peak, section = result.workload, result.gib.get(SFT_BACKWARD, 0.0), "method."
    if result.sft and result.peak_phase == SFT_BACKWARD:
        workload, other_peak, section = result.sft.workload, _peak(result.workload, result.scale), "bridge.sft."
    useful = []
    for suggestion, changed in _changes(workload, result.card):
        saves = result.peak_gib - max(other_peak, _peak(_fitted(changed, result), result.scale))
        if saves >= MIN_SAVING_GIB:
            override = suggestion.override.replace("method.", section)
            useful.append(replace(suggestion, override=override, saves_gib=saves))
    return useful[:MAX_SUGGESTIONS]


def _changes(workload: Workload, card: Card) -> Iterator[tuple[Suggestion, Workload]]:
    """Possible changes from the cheapest to the most expensive, and the workload after each."""
    recipe, batch, lengths = workload.recipe, workload.batch, workload.lengths
    method = recipe.method

    def batch_change(override: str, **changes: Any) -> tuple[Suggestion, Workload]:
        changed = replace(workload, batch=replace(batch, **changes))
        slowdown = speed.training_seconds(changed, card) / speed.training_seconds(workload, card)
        return Suggestion(override, 0.0, slowdown if card.speed else None, "same result up to rounding"), changed

    def recipe_change(override: str, cost: str, **changes: Any) -> tuple[Suggestion, Workload]:
        return Suggestion(override, 0.0, None, cost), replace(workload, recipe=recipe.model_copy(update=changes))

    size = batch.per_device_train_batch_size
    smaller = [rows for rows in range(1, size) if method.rows_per_step % rows == 0]
    if smaller:
        rows = smaller[-1]
        yield batch_change(f"method.per_device_train_batch_size={rows}", per_device_train_batch_size=rows)
    if not batch.gradient_checkpointing:
        yield batch_change("method.gradient_checkpointing=true", gradient_checkpointing=True)
    if recipe.model.load_in == "16bit":
        model = recipe.model.model_copy(update={"load_in": "4bit"})
        yield recipe_change("model.load_in=4bit", "quantized weights, slower steps", model=model)
    images = max(1, lengths.images)
    if lengths.image >= 8 * images:
        tokens = lengths.image // images // 2
        model = recipe.model.model_copy(update={"max_image_tokens": tokens})
        suggestion, changed = recipe_change(f"model.max_image_tokens={tokens}", "images lose detail", model=model)
        yield suggestion, replace(changed, lengths=replace(lengths, image=lengths.image // 2))
    if method.max_sampled_tokens:
        tokens = method.max_sampled_tokens // 2
        suggestion, changed = recipe_change(
            f"method.max_completion_length={tokens}",
            "longer completions are truncated",
            method=method.limited_to(tokens),
        )
        yield suggestion, replace(changed, lengths=replace(lengths, completion=tokens))
    evaluation = recipe.eval.model_copy(update={"max_new_tokens": recipe.eval.max_new_tokens // 2})
    yield recipe_change(
        f"eval.max_new_tokens={evaluation.max_new_tokens}", "longer completions are truncated", eval=evaluation
    )
    if recipe.lora.rank > 4:
        lora = recipe.lora.model_copy(update={"rank": recipe.lora.rank // 2})
        yield recipe_change(f"lora.rank={lora.rank}", "the adapter has less capacity", lora=lora)


def _fitted(workload: Workload, result: Estimate) -> Workload:
    """The workload as it would run: with the same rows per pass, and as many rows sampled at once as then fit."""
    batch, method = workload.batch, workload.recipe.method
    fixed = {
        "per_device_train_batch_size": batch.per_device_train_batch_size,
        "gradient_checkpointing": batch.gradient_checkpointing,
    }
    recipe = workload.recipe.model_copy(update={"method": method.model_copy(update=fixed)})
    inputs = recipe, workload.model, result.card, result.scale, workload.lengths, workload.shards
    return replace(workload, batch=_batch(*inputs))


def _batch(
    recipe: Recipe, model: Architecture, card: Card, scale: MemoryScale, row_lengths: SequenceLengths, shards: int
) -> Batch:
    gib = card.gib if card.name != cards.CPU else 0.0
    return choose_batch(
        recipe,
        model,
        gib,
        card=card.name,
        precision=card.precision,
        scale=scale,
        row_lengths=row_lengths,
        shards=shards,
    )


def _peak(workload: Workload, scale: MemoryScale) -> float:
    return max(scale.gib(terms) for terms in memory.phases(workload).values())


def _max_rows(workload: Workload, card: Card, scale: MemoryScale, gradient_checkpointing: bool) -> int:
    """The maximum number of rows in one forward pass, independent of the rows of a step; 0 if not even one fits."""

    def fits(rows: int) -> bool:
        batch = Batch(rows, workload.batch.rows_per_generate, gradient_checkpointing)
        terms = memory.phases(replace(workload, batch=batch))
        return all(scale.gib(terms[phase]) <= card.gib for phase in ("backward", "scoring forward") if phase in terms)

    low, high = 0, MAX_ROWS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
