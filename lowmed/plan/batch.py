"""How the rows of an update are cut for a card. The trainers and the planner ask the same function."""

from collections.abc import Iterator
from dataclasses import replace

from lowmed.models import Architecture
from lowmed.plan import calibration, cards, sequence_lengths, speed
from lowmed.plan.calibration import MemoryScale
from lowmed.plan.memory import phases
from lowmed.plan.workload import CPU_ROWS, EVALUATION_ROWS, Batch, Workload
from lowmed.recipe import DataSpec, EvalSpec, MethodSpec, ModelSpec, Recipe, SftSpec

__all__ = ["Batch", "choose_batch", "eval_batch_size"]

KEPT_FREE = {True: 0.1, False: 0.25}  # share of the card that a derived batch leaves: measured on such a card, or not
HARDLY_FASTER = 1.05  # a batch that saves less time is not worth its memory
SMALL = 50e6  # parameters of a model that a CPU trains in one forward


def choose_batch(
    recipe: Recipe,
    model: Architecture,
    card_gib: float,
    *,
    card: str = "",
    precision: str = "bf16",
    scale: MemoryScale | None = None,
    row_lengths: sequence_lengths.SequenceLengths | None = None,
) -> Batch:
    """The batch for a card: what the recipe says, and for what it leaves open the fastest that fits with room.

    The recipe's `hardware` plans for that card's memory, never for more than there is. Without a card everything is
    one forward of a small model, two rows of a large one.

    Args:
        recipe: the whole recipe.
        model: its model's sizes.
        card_gib: memory of the card as torch reports it; 0 without a card.
        card: its name as torch reports it, for what was measured on it.
        precision: `bf16`, `fp16` or `fp32`.
        scale: measured over planned memory; by default what is stored for that card.
        row_lengths: of the run's rows; by default what is known of the data.
    """
    method = recipe.method
    if card_gib == 0:
        most = method.rows_per_step if model.parameters < SMALL else 2
        rows = method.per_device_train_batch_size or next(_divisors(method.rows_per_step, most))
        return Batch(rows, _generated(method)[0], bool(method.gradient_checkpointing), CPU_ROWS)
    wanted = cards.preset(recipe)
    gib = min(card_gib, wanted.gib) if wanted else card_gib
    here = cards.like(card, card_gib)
    scale = scale or calibration.scale(here.name)
    sizes = Workload(
        recipe,
        model,
        row_lengths or sequence_lengths.sequence_lengths(recipe),
        Batch(1, 1, True),
        4 if precision == "fp32" else 2,
    )

    def fits(phase: str, tried: Batch) -> bool:
        terms = phases(replace(sizes, batch=tried)).get(phase, {})
        return scale.gib(terms) <= (1 - KEPT_FREE[scale.rows > 0]) * gib

    tried = _tried(recipe)
    fitting = [each for each in tried if fits("backward", each) and fits("scoring forward", each)]
    cut = _fast([replace(sizes, batch=each) for each in fitting], here) if fitting else tried[-1]
    generated = (
        _generated(method)[:1] if recipe.model.backend == "unsloth" else _generated(method)
    )  # it draws all at once
    calls = [replace(cut, rows_per_generate=rows) for rows in generated]
    cut = next((each for each in calls if fits("rollout", each)), calls[-1])
    asked = [replace(cut, rows_per_answer=rows) for rows in _divisors(EVALUATION_ROWS)]
    return next((each for each in asked if fits("evaluation", each)), asked[-1])


def eval_batch_size(
    spec: ModelSpec,
    model: Architecture,
    max_new_tokens: int,
    card_gib: float,
    *,
    card: str = "",
    precision: str = "bf16",
) -> int:
    """Questions that an evaluation may ask at once, one image each at the pixel policy's ceiling; for any recipe.

    Args:
        spec: the model, as a recipe says it.
        model: its sizes.
        max_new_tokens: of a completion.
        card_gib: as for `batch`, and so the next two.
        card: its name as torch reports it.
        precision: `bf16`, `fp16` or `fp32`.
    """
    recipe = Recipe(
        about="an evaluation",
        model=spec,
        data=DataSpec(source="any"),
        method=SftSpec(kind="sft"),
        eval=EvalSpec(max_new_tokens=max_new_tokens),
    )
    return choose_batch(recipe, model, card_gib, card=card, precision=precision).rows_per_answer


def _tried(recipe: Recipe) -> list[Batch]:
    """Batches that the recipe leaves open, the smallest last; unsloth checkpoints whatever it is told."""
    method = recipe.method
    rows = (
        [method.per_device_train_batch_size]
        if method.per_device_train_batch_size
        else list(_divisors(method.rows_per_step))
    )
    kept = [False, True] if method.gradient_checkpointing is None else [method.gradient_checkpointing]
    if recipe.model.backend == "unsloth":
        kept = [True]
    return [Batch(each, 1, gradient_checkpointing) for gradient_checkpointing in kept for each in rows]


def _fast(tried: list[Workload], card: cards.Card) -> Batch:
    """The batch that trains fastest by estimate, or one that is hardly slower and takes less memory."""
    seconds = [speed.training(each, card) for each in tried]
    near = [each for each, taken in zip(tried, seconds, strict=True) if taken <= HARDLY_FASTER * min(seconds)]
    return min(near, key=lambda each: sum(phases(each)["backward"].values())).batch


def _generated(method: MethodSpec) -> list[int]:
    """Rows that one call of generate may have, most first: whole groups, in equal calls."""
    if not method.completions_per_prompt:
        return [EVALUATION_ROWS]
    return [questions * method.completions_per_prompt for questions in _divisors(method.prompts_per_step)]


def _divisors(number: int, most: int | None = None) -> Iterator[int]:
    """The divisors of a number, largest first, none above `most`."""
    return (size for size in range(min(number, most or number), 0, -1) if number % size == 0)
