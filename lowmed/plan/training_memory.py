"""Bytes of the forward and backward passes of training, by term."""

from lowmed.models import Architecture
from lowmed.plan.vision_memory import encoding, pixels
from lowmed.plan.workload import Terms, Workload

LAYER_GRADIENTS = 0.7  # gradients of the layer in the backward pass, as a share of its activations


def backward(workload: Workload) -> Terms:
    """Terms of the forward and backward pass of one batch of rows, with the gradients of the adapter."""
    model, width, tokens = workload.model, workload.value_bytes, workload.tokens_per_forward
    saved = text_bytes_per_token(model, width)
    if workload.shared_prompts and width == 2:  # lowmed's forward pass turns off PEFT's casts of three inputs
        saved -= 3 * model.hidden * width
    layer = tokens * saved + _attention(workload)
    if workload.batch.gradient_checkpointing:  # one layer at a time saves its activations again
        kept = tokens * model.layers * model.hidden * width + (1 + LAYER_GRADIENTS) * layer
    else:
        kept = (model.layers + LAYER_GRADIENTS) * layer
    terms = {
        "activations": kept + _mask_cells(workload),
        "logits": _logits(workload),
        "gradients": 4 * model.lora(workload.recipe.lora.rank),
        "pixels and features": pixels(workload, workload.questions_on_device + workload.shared_prompts),
        "image encoding": encoding(workload, workload.completions_per_forward, training=True),
    }
    if workload.recipe.model.load_in == "4bit":
        terms["dequantized layer"] = 2 * width * model.hidden * model.intermediate
    return terms


def scoring(workload: Workload) -> Terms:
    """Terms of a forward pass without gradients: for the KL term, and for rows that are trained on more than once."""
    rows, method = workload.batch.per_device_train_batch_size, workload.recipe.method
    questions = method.rows_per_step if method.completions_per_prompt else workload.questions_on_device
    layer = workload.tokens_per_forward * working_bytes_per_token(workload) + _attention(workload)
    return {
        "activations": layer + _mask_cells(workload),
        "logits": _logits(workload),
        "pixels and features": pixels(workload, questions + workload.shared_prompts),
        "image encoding": encoding(workload, rows),
    }


def text_bytes_per_token(model: Architecture, value_bytes: int) -> float:
    """Bytes of one token that one decoder layer saves for the backward pass, with an adapter on all linear layers.

    Args:
        model: dimensions of the model.
        value_bytes: 2, or 4 on a CPU.
    """
    wide, narrow = model.heads * model.head_dim, model.kv_heads * model.head_dim
    norms = 10.14 if value_bytes == 2 else 3.72  # norms compute in 32 bits and keep 32-bit copies
    norms *= model.layer_norms / 2  # measured with two of them
    return value_bytes * (4 * model.intermediate + norms * model.hidden + 4 * wide + 3 * narrow)


def working_bytes_per_token(workload: Workload) -> float:
    """Bytes of one token that one decoder layer holds in a pass without gradients."""
    model = workload.model
    inner = 3 if workload.on_cpu else 4  # with a 16-bit base, the 32-bit products of the adapter take more
    return workload.value_bytes * (inner * model.intermediate + 4 * model.hidden + 2 * model.heads * model.head_dim)


def _attention(workload: Workload) -> float:
    """Bytes that a layer saves in addition to its tokens: the mask in floating point, and copies of keys and values.

    With shared prompts, keys and values are copied for every completion. For the attention within a prompt they are
    also repeated for every head.
    """
    model, copied = workload.model, 0
    if workload.shared_prompts:
        completions = workload.completions_per_forward * workload.lengths.row * model.kv_heads
        prompts = workload.shared_prompts * workload.lengths.prompt * model.heads
        copied = 2 * model.head_dim * (completions + prompts)
    return workload.value_bytes * (copied + _mask_cells(workload))


def _mask_cells(workload: Workload) -> float:
    """Cells of the attention masks.

    With shared prompts there is one mask per prompt, for all of its completions and the heads that share a key;
    otherwise one mask per row.
    """
    row, model = workload.lengths.row, workload.model
    if workload.shared_prompts:
        return workload.shared_prompts * model.heads // model.kv_heads * workload.lengths.completion * row
    return workload.completions_per_forward * row**2


def _logits(workload: Workload) -> float:
    """Bytes of the logits and their gradients. TRL's GPU kernel works in tiles; plain torch on a CPU does not."""
    vocabulary = workload.model.vocabulary
    tokens = workload.completions_per_forward * workload.lengths.completion
    if workload.on_cpu:
        return tokens * vocabulary * 4 * 6
    return min(tokens, 4096) * min(vocabulary, 32768) * 6 + tokens * workload.model.hidden * 8
