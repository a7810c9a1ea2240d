"""Batch sizes for a GPU. The trainers and the planner use the same function."""

from collections.abc import Iterator
from dataclasses import replace

from lowmed.methods import MethodSpec, SftSpec
from lowmed.models import Architecture
from lowmed.plan import calibration, cards, speed
from lowmed.plan.calibration import MemoryScale
from lowmed.plan.memory import phases
from lowmed.plan.sequence_lengths import SequenceLengths, sequence_lengths
from lowmed.plan.workload import CPU_EVAL_BATCH_SIZE, EVAL_BATCH_SIZE, Batch, Workload
from lowmed.recipe import DataSpec, EvalSpec, ModelSpec, Recipe

FREE_SHARE = {True: 0.1, False: 0.25}  # by whether the GPU is calibrated: share of the memory that stays free
SIMILAR_TIME = 1.05  # among batches within this factor of the fastest, the smallest is taken
SMALL_MODEL = 50e6  # parameters of a model that a CPU trains in one forward pass


def choose_batch(
    recipe: Recipe,
    model: Architecture,
    card_gib: float,
    *,
    card: str = "",
    precision: str = "bf16",
    scale: MemoryScale | None = None,
    row_lengths: SequenceLengths | None = None,
    shards: int = 1,
) -> Batch:
    """The batch for a GPU: the recipe's values, and for unset ones the fastest batch that leaves some memory free.

    `hardware` in the recipe plans for the memory of that GPU, but never for more than the present GPU has.
    Without a GPU, a small model trains all rows in one pass, a large one two rows.

    Args:
        recipe: the recipe.
        model: dimensions of its model.
        card_gib: memory of the GPU in GiB as torch reports it; 0 without a GPU.
        card: name of the GPU as torch reports it.
        precision: `bf16`, `fp16` or `fp32`.
        scale: calibration of the memory estimate; by default from the stored dry runs on that GPU.
        row_lengths: lengths of the rows; by default from the data set.
        shards: processes that divide the decoder layers among them, and the rows of a step.
    """
    method = recipe.method
    if card_gib == 0:
        most = method.rows_per_step if model.parameters < SMALL_MODEL else 2
        rows = method.per_device_train_batch_size or next(_divisors(method.rows_per_step, most))
        batch = Batch(rows, _generate_sizes(method)[0], bool(method.gradient_checkpointing), CPU_EVAL_BATCH_SIZE)
        return replace(batch, dequantizes_rollouts=recipe.model.rollout_dtype == "16bit")
    preset = cards.preset(recipe)
    gib = min(card_gib, preset.gib) if preset else card_gib
    gpu = cards.match_card(card, card_gib)
    scale = scale or calibration.memory_scale(gpu.name)
    row_lengths = row_lengths or sequence_lengths(recipe)
    workload = Workload(recipe, model, row_lengths, Batch(1, 1, True), 4 if precision == "fp32" else 2, shards=shards)

    def fits(phase: str, batch: Batch) -> bool:
        terms = phases(replace(workload, batch=batch)).get(phase, {})
        return scale.gib(terms) <= (1 - FREE_SHARE[scale.dry_runs > 0]) * gib

    candidates = _training_batches(recipe, shards)
    fitting = [batch for batch in candidates if fits("backward", batch) and fits("scoring forward", batch)]
    batch = _fastest([replace(workload, batch=candidate) for candidate in fitting], gpu) if fitting else candidates[-1]
    generate_sizes = _generate_sizes(method)
    if recipe.model.backend == "unsloth":  # it samples all rows of a step in one call
        generate_sizes = generate_sizes[:1]
    by_generate = [replace(batch, rows_per_generate=rows) for rows in generate_sizes]
    batch = next((candidate for candidate in by_generate if fits("rollout", candidate)), by_generate[-1])

    def fits_everywhere(batch: Batch) -> bool:
        return all(fits(phase, batch) for phase in ("rollout", "scoring forward", "backward"))

    copied = replace(batch, dequantizes_rollouts=True)
    wanted = recipe.model.rollout_dtype
    if workload.can_dequantize_rollouts and (wanted == "16bit" or (wanted == "auto" and fits_everywhere(copied))):
        batch = copied
    kept = replace(batch, keeps_kv_cache=True)
    if workload.uses_cuda_graphs and method.completions_per_prompt and fits_everywhere(kept):
        batch = kept
    by_eval = [replace(batch, eval_batch_size=rows) for rows in _divisors(EVAL_BATCH_SIZE)]
    phase = "dev evaluation" if recipe.data.dev else "evaluation"  # the former needs more
    return next((candidate for candidate in by_eval if fits(phase, candidate)), by_eval[-1])


def eval_batch_size(
    spec: ModelSpec,
    model: Architecture,
    max_new_tokens: int,
    card_gib: float,
    *,
    card: str = "",
    precision: str = "bf16",
) -> int:
    """Questions in one batch of an evaluation without a recipe, each with one image of the maximum size.

    Args:
        spec: the model settings.
        model: its dimensions.
        max_new_tokens: maximum length of a completion.
        card_gib: memory of the GPU in GiB as torch reports it; 0 without a GPU.
        card: name of the GPU as torch reports it.
        precision: `bf16`, `fp16` or `fp32`.
    """
    recipe = Recipe(
        about="an evaluation",
        model=spec,
        data=DataSpec(source="any"),
        method=SftSpec(kind="sft"),
        eval=EvalSpec(max_new_tokens=max_new_tokens),
    )
    return choose_batch(recipe, model, card_gib, card=card, precision=precision).eval_batch_size


def halved(batch: Batch, rows_per_step: int) -> Batch | None:
    """The batch with at most half the rows in a forward pass, or None if it has one row.

    Args:
        batch: the batch.
        rows_per_step: rows of an optimizer step, which stay the same.
    """
    rows = batch.per_device_train_batch_size // 2
    return replace(batch, per_device_train_batch_size=next(_divisors(rows_per_step, rows))) if rows else None


def _training_batches(recipe: Recipe, shards: int) -> list[Batch]:
    """Batches that the recipe allows, the smallest last. unsloth always uses gradient checkpointing."""
    method = recipe.method
    size = method.per_device_train_batch_size
    sizes = [size] if size else list(_divisors(max(1, method.rows_per_step // shards)))
    checkpointing = [False, True] if method.gradient_checkpointing is None else [method.gradient_checkpointing]
    if recipe.model.backend == "unsloth":
        checkpointing = [True]
    return [Batch(rows, 1, recompute) for recompute in checkpointing for rows in sizes]


def _fastest(workloads: list[Workload], card: cards.Card) -> Batch:
    """The batch that trains fastest by estimate, or one of similar time that takes less memory."""
    seconds = [speed.training_seconds(workload, card) for workload in workloads]
    limit = SIMILAR_TIME * min(seconds)
    similar = [workload for workload, taken in zip(workloads, seconds, strict=True) if taken <= limit]
    return min(similar, key=lambda workload: sum(phases(workload)["backward"].values())).batch


def _generate_sizes(method: MethodSpec) -> list[int]:
    """Possible rows of one generate call, largest first: whole groups, in calls of equal size."""
    if not method.completions_per_prompt:
        return [EVAL_BATCH_SIZE]
    return [prompts * method.completions_per_prompt for prompts in _divisors(method.prompts_per_step)]


def _divisors(number: int, most: int | None = None) -> Iterator[int]:
    """The divisors of a number up to `most`, largest first."""
    return (size for size in range(min(number, most or number), 0, -1) if number % size == 0)
