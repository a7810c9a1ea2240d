"""Bytes of the forward and backward passes of training, by term."""

from lowmed.models import Architecture
from lowmed.plan.vision_memory import encoding, pixels
from lowmed.plan.workload import Terms, Workload

AGAIN = 0.7  # of what a layer keeps: the gradients of it while the backward pass is in it


def backward(sizes: Workload) -> Terms:
    """Forward and backward of one batch of rows, beside the gradients that add up over an update."""
    model, width, tokens = sizes.model, sizes.width, sizes.tokens_per_forward
    layer = tokens * text_bytes_per_token(model, width) + _attention(sizes)
    if sizes.batch.gradient_checkpointing:  # the layer in hand saves everything anew
        kept = tokens * model.layers * model.hidden * width + (1 + AGAIN) * layer
    else:
        kept = (model.layers + AGAIN) * layer
    terms = {
        "activations": kept + _seen(sizes),
        "logits": _head(sizes),
        "gradients": 4 * model.lora(sizes.recipe.lora.rank),
        "images": pixels(sizes, sizes.questions_held + sizes.shared_prompts),
        "vision": encoding(sizes, sizes.batch.per_device_train_batch_size, training=True),
    }
    if sizes.recipe.model.load_in == "4bit":
        terms["layer read from 4 bits"] = 2 * width * model.hidden * model.intermediate
    return terms


def scoring(sizes: Workload) -> Terms:
    """The same rows without a graph, for the KL term and for completions that are trained on more than once."""
    rows = sizes.batch.per_device_train_batch_size
    return {
        "activations": sizes.tokens_per_forward * layer_at_work(sizes) + _attention(sizes) + _seen(sizes),
        "logits": _head(sizes),
        "images": pixels(sizes, sizes.recipe.method.rows_per_step + sizes.shared_prompts),
        "vision": encoding(sizes, rows),
    }


def text_bytes_per_token(model: Architecture, width: int) -> float:
    """What one language layer keeps of one token for the backward pass, an adapter on all its linear layers."""
    wide, narrow = model.heads * model.head_dim, model.kv_heads * model.head_dim
    norms = 10.14 if width == 2 else 3.72  # each norm computes in 32 bits and keeps its copies
    return width * (4 * model.intermediate + norms * model.hidden + 4 * wide + 3 * narrow)


def layer_at_work(sizes: Workload) -> float:
    """What one language layer holds of one token in a pass without a graph."""
    model = sizes.model
    inner = 3 if sizes.on_cpu else 4  # beside 16 bits the adapter's 32-bit products take more
    return sizes.width * (inner * model.intermediate + 4 * model.hidden + 2 * model.heads * model.head_dim)


def _attention(sizes: Workload) -> float:
    """What a layer keeps beside its tokens: the mask as numbers, and keys and values that are laid out anew.

    Of a shared prompt they are laid out for every completion, and for every head where the prompt reads itself.
    """
    model, laid_out = sizes.model, 0
    if sizes.shared_prompts:
        completions = sizes.batch.per_device_train_batch_size * sizes.lengths.row * model.kv_heads
        prompts = sizes.shared_prompts * sizes.lengths.prompt * model.heads
        laid_out = 2 * model.head_dim * (completions + prompts)
    return sizes.width * (laid_out + _seen(sizes))


def _seen(sizes: Workload) -> float:
    """Cells of the masks: one a prompt for all of its completions and the heads that share a key, else one a row."""
    row, model = sizes.lengths.row, sizes.model
    if sizes.shared_prompts:
        return sizes.shared_prompts * model.heads // model.kv_heads * sizes.lengths.completion * row
    return sizes.batch.per_device_train_batch_size * row**2


def _head(sizes: Workload) -> float:
    """The vocabulary's part: in tiles by TRL's kernel on a card, whole in plain torch on a CPU."""
    vocabulary = sizes.model.vocabulary
    tokens = sizes.batch.per_device_train_batch_size * sizes.lengths.completion
    if sizes.on_cpu:
        return tokens * vocabulary * 4 * 6
    return min(tokens, 4096) * min(vocabulary, 32768) * 6 + tokens * sizes.model.hidden * 8
