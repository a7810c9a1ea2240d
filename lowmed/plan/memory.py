"""Peak memory of a run, by phase and by term, from sizes alone. docs/memory.md tells where each constant comes from.

Everything is in bytes. `width` is the bytes of a 16-bit value, or 4 where the run computes in 32 bits, on a CPU.
"""

from dataclasses import dataclass
from typing import Literal

from lowmed import recipe
from lowmed.plan.architecture import MERGED, Architecture
from lowmed.plan.lengths import Lengths

GIB = 2**30
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight, double quantisation
EVALUATION_ROWS = 64  # questions answered at once where they fit
ENCODED_ALONE = ("qwen2_vl", "qwen2_5_vl")  # families whose frozen tower encodes each image once, one at a time

Terms = dict[str, float]
Tower = Literal["once", "stock"]


@dataclass(frozen=True)
class Batch:
    """How the rows of an update are cut for a card: none of it changes what is learnt, up to rounding.

    Attributes:
        rows_per_forward: rows in one forward and backward pass; divides the rows of an update.
        rows_per_generate: rows in one call of generate at the most.
        checkpointing: whether the backward pass computes the activations anew.
        rows_per_answer: questions that an evaluation asks at once.
    """

    rows_per_forward: int
    rows_per_generate: int
    checkpointing: bool
    rows_per_answer: int = EVALUATION_ROWS


@dataclass(frozen=True)
class Sizes:
    """What the memory of a run follows from."""

    plan: recipe.Recipe
    model: Architecture
    lengths: Lengths
    batch: Batch
    width: int = 2
    tower: Tower = "once"

    @property
    def on_cpu(self) -> bool:
        """Whether the run computes in 32 bits in this process's own memory."""
        return self.width == 4


def phases(sizes: Sizes) -> dict[str, Terms]:
    """The terms of each phase on the device, in the order in which a run meets them."""
    held = weights(sizes)
    tuned = {**held, **_adapter(sizes)}
    found = {"load": {**held, **_loading(sizes)}}
    method = sizes.plan.method
    if isinstance(method, recipe.Grpo):
        rows = sizes.batch.rows_per_generate
        answering = _answering(sizes, rows, -(-rows // method.group_size), method.max_new_tokens)
        found["rollout"] = {**tuned, **answering, "images": _pixels(sizes, _rows_held(sizes))}
        if method.beta > 0 or method.num_iterations > 1:
            found["scoring forward"] = {**tuned, **_forward(sizes)}
    found["backward"] = {**tuned, **_training(sizes)}
    questions = sizes.batch.rows_per_answer
    asked = _answering(sizes, questions, questions, sizes.plan.eval.max_new_tokens)
    found["evaluation"] = {**held, "LoRA": tuned["LoRA"], **asked}
    return found


def weights(sizes: Sizes) -> Terms:
    """The base model."""
    model, four_bit = sizes.model, sizes.plan.model.load_in == "4bit"
    language = model.text_linear * (NF4 if four_bit else sizes.width) + model.text_rest * sizes.width
    return {
        "4-bit weights" if four_bit else "16-bit weights": language,
        "vision tower": model.vision * sizes.width,
        "embeddings": model.embedding * sizes.width,
    }


def merge(sizes: Sizes) -> Terms:
    """Merging on the host: the whole base in 16 bits, and one layer's product in 32."""
    largest = max(inputs * outputs for inputs, outputs in sizes.model.layer_shapes)
    return {"16-bit weights": 2 * sizes.model.parameters, "one layer in 32 bits": 3 * 4 * largest}


def text_bytes_per_token(model: Architecture, width: int) -> float:
    """What one language layer keeps of one token for the backward pass, an adapter on all its linear layers."""
    wide, narrow = model.heads * model.head_dim, model.kv_heads * model.head_dim
    norms = 10.14 if width == 2 else 3.72  # each norm computes in 32 bits and keeps its copies
    return width * (4 * model.intermediate + norms * model.hidden + 4 * wide + 3 * narrow)


def _adapter(sizes: Sizes) -> Terms:
    """The adapter, which is 32-bit, and Adam's two moments, which stay from the first update on."""
    count = sizes.model.lora(sizes.plan.lora.rank)
    return {"LoRA": 4 * count, "optimizer": 8 * count}


def _loading(sizes: Sizes) -> Terms:
    """Layers on their way: four at once to a card; on a CPU the whole 16-bit model passes through the same memory."""
    if sizes.on_cpu:
        return {"16-bit weights on the way": 2 * sizes.model.parameters}
    return {"16-bit weights on the way": 4 * 2 * sizes.model.hidden * sizes.model.intermediate}


def _answering(sizes: Sizes, rows: int, prompts: int, new_tokens: int) -> Terms:
    """Reading each distinct prompt once, then one token at a time for all rows that go on from them."""
    model, width = sizes.model, sizes.width
    wide, narrow = model.heads * model.head_dim, model.kv_heads * model.head_dim
    prompt = sizes.lengths.prompt
    cache = 2 * model.layers * narrow * width * rows * (prompt + new_tokens)
    layer = width * (3 * model.intermediate + 4 * model.hidden + 2 * wide)
    return {
        "KV cache": cache * (1 + 1 / model.layers),  # a layer's cache is laid out anew for every token
        "prefill": prompts * prompt * layer + _mask(sizes, prompts, prompt),
        "logits": rows * model.vocabulary * (width + 5 * 4),
        "images": _pixels(sizes, rows),
        "vision": _encoding(sizes, rows),
    }


def _forward(sizes: Sizes) -> Terms:
    """A pass without a graph: what one layer holds at a time."""
    model, rows, tokens = sizes.model, sizes.batch.rows_per_forward, sizes.lengths.row
    layer = sizes.width * (3 * model.intermediate + 4 * model.hidden)
    return {
        "activations": rows * tokens * layer + _mask(sizes, rows, tokens),
        "logits": _head(sizes),
        "images": _pixels(sizes, _rows_held(sizes)),
        "vision": _encoding(sizes, rows),
    }


def _training(sizes: Sizes) -> Terms:
    """Forward and backward of one batch of rows, beside the gradients that add up over an update."""
    model, rows, width = sizes.model, sizes.batch.rows_per_forward, sizes.width
    layer = text_bytes_per_token(model, width)
    tokens = rows * sizes.lengths.row
    if sizes.batch.checkpointing:  # the layer in hand saves everything anew, and its gradients come to 0.7 of that
        kept = tokens * (model.layers * model.hidden * width + 1.7 * layer)
    else:
        shared = shared_prompts(sizes) * sizes.lengths.prompt
        if shared:
            tokens = rows * sizes.lengths.reply + shared
        kept = tokens * (model.layers + 0.7) * layer
        if shared:  # keys and values of the one prompt, laid out for every reply and query head
            narrow, wide = model.kv_heads * model.head_dim, model.heads * model.head_dim
            kept += model.layers * rows * sizes.lengths.prompt * 2 * (narrow + wide) * width
    terms = {
        "activations": kept + _mask(sizes, rows, sizes.lengths.row),
        "logits": _head(sizes),
        "gradients": 4 * model.lora(sizes.plan.lora.rank),
        "images": _pixels(sizes, _rows_held(sizes)),
        "vision": _encoding(sizes, rows, training=True),
    }
    if sizes.plan.model.load_in == "4bit":
        terms["layer read from 4 bits"] = 2 * width * model.hidden * model.intermediate
    return terms


def shared_prompts(sizes: Sizes) -> int:
    """Prompts that one forward reads for all of their replies, 0 where every row brings its own.

    Rows stand group by group, but a forward need not begin with a group.
    """
    method, rows = sizes.plan.method, sizes.batch.rows_per_forward
    if not isinstance(method, recipe.Grpo) or sizes.plan.model.backend == "unsloth":
        return 0
    whole = rows % method.group_size == 0 or method.group_size % rows == 0
    return min(rows, -(-rows // method.group_size) + (0 if whole else 1))


def _head(sizes: Sizes) -> float:
    """The vocabulary's part: in tiles by TRL's kernel on a card, whole in plain torch on a CPU."""
    vocabulary = sizes.model.vocabulary
    tokens = sizes.batch.rows_per_forward * sizes.lengths.reply
    if sizes.on_cpu:
        return tokens * vocabulary * 4 * 6
    return min(tokens, 4096) * min(vocabulary, 32768) * 6 + tokens * sizes.model.hidden * 8


def _rows_held(sizes: Sizes) -> int:
    """Rows whose pixels lie on the device at once: TRL keeps those of a whole generation."""
    grpo = isinstance(sizes.plan.method, recipe.Grpo)
    return sizes.plan.method.rows_per_update if grpo else sizes.batch.rows_per_forward


def _pixels(sizes: Sizes, rows: int) -> float:
    """Normalised pixels in 32 bits, and the features that take their place in the prompt."""
    tokens = rows * sizes.lengths.image
    return tokens * (MERGED * sizes.model.patch_values * 4 + sizes.model.vision_out * sizes.width)


def _mask(sizes: Sizes, rows: int, tokens: int) -> float:
    """The attention mask over padded rows, as booleans and as numbers."""
    return rows * tokens * tokens * (1 + sizes.width)


def _encoding(sizes: Sizes, rows: int, *, training: bool = False) -> float:
    """The vision tower at work: one image at a time without a graph, or in the stock form all of a batch's."""
    model, width = sizes.model, sizes.width
    gated = model.family == "qwen2_5_vl"
    inner = (3 if gated else 2) * model.vision_intermediate
    at_work = 2 * (10 * model.vision_width + inner) * width / 2
    if sizes.tower == "once" and model.family in ENCODED_ALONE:
        return MERGED * sizes.lengths.image / max(1, sizes.lengths.images) * at_work
    patches = MERGED * sizes.lengths.image * rows
    if training and sizes.batch.checkpointing:  # its hooks make the tower build a graph, and recompute each block
        return patches * model.vision_width * width * (model.vision_depth + 1.7 * 16.2)
    return patches * at_work
