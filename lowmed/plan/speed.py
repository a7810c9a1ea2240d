"""Seconds of an update by card: arithmetic over estimated speeds, and what was measured where it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from lowmed import recipe
from lowmed.plan.architecture import MERGED
from lowmed.plan.cards import Card
from lowmed.plan.measured import Row
from lowmed.plan.memory import Sizes, phases, shared_prompts

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


def time(sizes: Sizes, card: Card, known: Sequence[Row] = ()) -> Time | None:
    """The time of an update on a card, None where nothing is known of its speed.

    Args:
        sizes: what runs.
        card: where.
        known: measured rows.
    """
    if card.tflops is None or card.decode_ms is None:
        return None
    found = Time(_generate(sizes, card), training_operations(sizes) / (card.tflops * 1e12))
    mine = [row for row in known if row.card_name == card.name and row.seconds]
    if not mine:
        return found
    pace = median(row.seconds["update"] / _planned(row.sizes, card) for row in mine)
    return Time(found.generate * pace, found.train * pace, len(mine))


def _planned(sizes: Sizes, card: Card) -> float:
    found = time(sizes, card)
    return found.update if found else 1.0


def _generate(sizes: Sizes, card: Card) -> float:
    """Every reply runs to its limit: one step a token, for all rows of a call."""
    method = sizes.plan.method
    if not isinstance(method, recipe.Grpo) or card.tflops is None or card.decode_ms is None:
        return 0.0
    rows, lengths = sizes.batch.rows_per_generate, sizes.lengths
    calls = method.rows_per_update / rows
    read = phases(sizes)["rollout"]["KV cache"] + 2 * sizes.model.text_linear
    step = card.decode_ms / 1e3 * sizes.model.layers / LAYERS_TIMED
    step += read / (card.gb_per_s * 1e9 * BANDWIDTH_REACHED)
    step += 2 * rows * sizes.model.text_linear / (card.tflops * 1e12)
    prefill = method.questions_per_update * (_text(sizes, lengths.prompt) + _vision(sizes)) / (card.tflops * 1e12)
    return (calls * method.max_new_tokens * step + prefill) / method.num_iterations


def training_operations(sizes: Sizes) -> float:
    """Operations of one update beside drawing the replies.

    Forward, backward to the adapter's inputs, and with checkpointing the forward again; the tower once an image.
    """
    method, lengths, cut = sizes.plan.method, sizes.lengths, sizes.batch
    scoring = 0.0
    if isinstance(method, recipe.Grpo):
        scoring = (method.beta > 0) + (method.num_iterations > 1) / method.num_iterations
    passes = (3 if cut.checkpointing else 2) + scoring
    prompt = lengths.mean_image + lengths.text
    shared = 0 if cut.checkpointing else shared_prompts(sizes)
    whole = _text(sizes, prompt + lengths.reply)
    if shared:
        whole += (shared / cut.rows_per_forward - 1) * _text(sizes, prompt)
    head = 3 * 2 * sizes.model.vocabulary * sizes.model.hidden * lengths.reply
    images = method.questions_per_update if sizes.tower == "once" else method.rows_per_update * passes
    return method.rows_per_update * (passes * whole + head) + images * _vision(sizes)


def _text(sizes: Sizes, tokens: float) -> float:
    """Operations of one forward of the language layers over one row."""
    model = sizes.model
    return 2 * model.text_linear * tokens + 2 * model.layers * model.heads * model.head_dim * tokens**2


def _vision(sizes: Sizes) -> float:
    """Operations of encoding the images of one question."""
    model, lengths = sizes.model, sizes.lengths
    patches = MERGED * lengths.mean_image
    attention = 4 * model.vision_depth * model.vision_width * patches**2 / max(1, lengths.images)
    return 2 * model.vision * patches + attention
