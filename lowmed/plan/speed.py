"""Seconds of an update by card: arithmetic over estimated speeds, and what was measured where it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from lowmed.models import PATCHES_PER_TOKEN
from lowmed.plan import cards, vision_memory
from lowmed.plan.calibration import MeasuredRun
from lowmed.plan.cards import Card, Speed
from lowmed.plan.memory import NF4, phases
from lowmed.plan.workload import Workload

LAYERS_TIMED = 28  # of the model that a card's `decode_ms` belongs to
BANDWIDTH_REACHED = 0.6


@dataclass(frozen=True)
class Time:
    """Seconds of one update; `rows` of that card were measured, none: an estimate."""

    generate: float
    train: float
    rows: int = 0

    @property
    def update(self) -> float:
        """Seconds of an update."""
        return self.generate + self.train


def estimate_time(sizes: Workload, card: Card, known: Sequence[MeasuredRun] = ()) -> Time | None:
    """The time of an update on a card, None where nothing is known of its speed.

    Args:
        sizes: what runs.
        card: where.
        known: measured rows.
    """
    if card.speed is None:
        return None
    result = Time(_generate(sizes, card.speed), _train(sizes, card.speed))
    mine = [row for row in known if row.card_name == card.name and row.seconds]
    if not mine:
        return result
    pace = median(row.seconds["update"] / _planned(row.sizes, card.speed) for row in mine)
    return Time(result.generate * pace, result.train * pace, len(mine))


def training(sizes: Workload, card: Card) -> float:
    """Seconds of an update beside drawing the completions, to compare ways to cut it; an unknown card is a middling one."""
    return _train(sizes, card.speed or cards.MIDDLING)


def _planned(sizes: Workload, speed: Speed) -> float:
    return _generate(sizes, speed) + _train(sizes, speed)


def _generate(sizes: Workload, speed: Speed) -> float:
    """Every completion runs to its limit: one step a token, for all rows of a call."""
    method = sizes.recipe.method
    if not method.completions_per_prompt:
        return 0.0
    rows, prompt = sizes.batch.rows_per_generate, _prompt(sizes)
    calls = method.rows_per_step / rows
    read = phases(sizes)["rollout"]["KV cache"] + 2 * sizes.model.text_linear
    step = _launching(sizes, speed)
    step += read / (speed.gb_per_s * 1e9 * BANDWIDTH_REACHED)
    step += 2 * rows * sizes.model.text_linear / (speed.tflops * 1e12)
    prefill = method.prompts_per_step * (_linear(sizes, prompt) + _attention(sizes, prompt**2) + _vision(sizes))
    return (calls * method.max_sampled_tokens * step + prefill / (speed.tflops * 1e12)) / method.steps_per_batch


def _train(sizes: Workload, speed: Speed) -> float:
    """Forward, backward to the adapter's inputs, with checkpointing the forward again, and forwards that only score.

    A pass takes as long as its operations and reading its 4-bit weights into 16 bits, or as launching its kernels.
    """
    method, cut = sizes.recipe.method, sizes.batch
    scoring = method.scoring_passes / method.steps_per_batch
    passes = (3 if cut.gradient_checkpointing else 2) + scoring
    dequantised = sizes.model.text_linear * (NF4 + 2 * 2) if sizes.recipe.model.load_in == "4bit" else 0.0
    one = _pass(sizes) / (speed.tflops * 1e12) + dequantised / (speed.gb_per_s * 1e9 * BANDWIDTH_REACHED)
    forwards = method.rows_per_step / cut.per_device_train_batch_size
    head = (3 + scoring) * 2 * sizes.model.vocabulary * sizes.model.hidden * sizes.lengths.completion
    rest = method.rows_per_step * head + _encoded(sizes, passes) * _vision(sizes)
    return forwards * passes * max(one, _launching(sizes, speed)) + rest / (speed.tflops * 1e12)


def _pass(sizes: Workload) -> float:
    """Operations of the language layers over the rows of one forward."""
    rows, shared = sizes.batch.per_device_train_batch_size, sizes.shared_prompts
    prompt, completion = _prompt(sizes), sizes.lengths.completion
    if not shared:
        return rows * (_linear(sizes, prompt + completion) + _attention(sizes, (prompt + completion) ** 2))
    seen = shared * prompt**2 + rows * 2 * completion * (
        prompt + completion
    )  # the completions' attention is not causal but masked
    return _linear(sizes, shared * prompt + rows * completion) + _attention(sizes, seen)


def _encoded(sizes: Workload, passes: float) -> float:
    """Questions whose images training encodes in an update: those of GRPO are known from drawing its completions."""
    method = sizes.recipe.method
    if not vision_memory.encoded_once(sizes):
        return method.rows_per_step * passes
    return 0 if method.completions_per_prompt else method.rows_per_step


def _prompt(sizes: Workload) -> float:
    return sizes.lengths.mean_image + sizes.lengths.text


def _linear(sizes: Workload, tokens: float) -> float:
    return 2 * sizes.model.text_linear * tokens


def _attention(sizes: Workload, seen: float) -> float:
    """Of so many pairs of query and key, half of which causal attention leaves out."""
    return 2 * sizes.model.layers * sizes.model.heads * sizes.model.head_dim * seen


def _vision(sizes: Workload) -> float:
    """Operations of encoding the images of one question."""
    model, lengths = sizes.model, sizes.lengths
    patches = PATCHES_PER_TOKEN * lengths.mean_image
    attention = 4 * model.vision_depth * model.vision_width * patches**2 / max(1, lengths.images)
    return 2 * model.vision * patches + attention


def _launching(sizes: Workload, speed: Speed) -> float:
    return speed.decode_ms / 1e3 * sizes.model.layers / LAYERS_TIMED
