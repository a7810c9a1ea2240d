"""The forward pass over completions with shared prompts: every token once, all of them in one row without padding.

A decoder layer treats tokens independently except in its attention. So the tokens of all prompts and completions form
one row, each prompt once with its completions after it. The attention is restricted: a prompt attends to itself, a
completion to its prompt and itself. The gradients of all completions add up in the keys and values of their prompt.
With gradient checkpointing a layer stores only its input, and is run again in the backward pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lowmed.engine import patches
from lowmed.engine.prefix.decode import language_model, rotary_embedding
from lowmed.engine.prefix.sampling import unwrapped

NAME = "shared_prompt"  # of the attention function in transformers' registry
MASK_STEP = 16


@dataclass(frozen=True)
class PrefixBlock:
    """A prompt and its completions, and how the completions are padded to rows of one length.

    Attributes:
        prompt_tokens: tokens of the prompt.
        rows: padded rows, one for each completion; 0 if no completion has a token that the model reads.
        tokens: tokens of prompt and completions together.
        padded_index: [rows * longest], for each cell of the padded rows a completion token of the block; for padding an
            arbitrary one.
        real_cells: [completion tokens], the cells that are not padding.
        mask: [heads per key * longest, prompt + longest], added to the attention scores: 0 for the keys that a cell
            attends to, -inf for all others. GPU kernels would copy it if its width were no multiple of 16.
    """

    prompt_tokens: int
    rows: int
    tokens: int
    padded_index: torch.Tensor
    real_cells: torch.Tensor
    mask: torch.Tensor


def prefix_block(
    prompt_tokens: int, completion_tokens: Sequence[int], heads_per_key: int, like: torch.Tensor
) -> PrefixBlock:
    """The block of a prompt and its completions.

    Args:
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens of each completion that the model reads, which are all but its last.
        heads_per_key: query heads that share a key head.
        like: a tensor with the dtype of the attention scores, on the device of the model.
    """
    lengths = torch.tensor(completion_tokens, dtype=torch.long)
    longest, device = max(completion_tokens, default=0), like.device
    if longest:
        longest = -(-(prompt_tokens + longest) // MASK_STEP) * MASK_STEP - prompt_tokens
    columns = torch.arange(longest)
    starts = lengths.cumsum(0) - lengths
    index = (starts[:, None] + torch.minimum(columns, lengths[:, None] - 1)).clamp(min=0)
    # In the first row, -inf begins after the prompt and the first token of the completion.
    mask = like.new_full((longest, prompt_tokens + longest), -torch.inf).triu(prompt_tokens + 1)
    return PrefixBlock(
        prompt_tokens,
        len(completion_tokens) if longest else 0,
        prompt_tokens + sum(completion_tokens),
        index.flatten().to(device),
        (columns < lengths[:, None]).flatten().nonzero().squeeze(1).to(device),
        mask.repeat(heads_per_key, 1),
    )


def hidden_states(
    model: Any,
    ids: torch.Tensor,
    positions: torch.Tensor,
    images: Mapping[str, Any],
    blocks: list[PrefixBlock],
    indices: torch.Tensor,
    gradient_checkpointing: bool,
) -> torch.Tensor:
    """The last hidden states of some tokens.

    Args:
        model: one that `decode.supports`, with or without an adapter.
        ids: [tokens], block by block.
        positions: [3, tokens], of M-RoPE.
        images: `pixel_values` and `image_grid_thw` of the images in the order of the prompts, or empty.
        blocks: the blocks of the tokens.
        indices: [selected], the tokens whose states are returned.
        gradient_checkpointing: store only the input of each layer, and run the layer again in the backward pass.

    Returns:
        [selected, width].
    """
    core = unwrapped(model)
    language = language_model(core)
    hidden = language.embed_tokens(ids[None])
    deepstack: list[torch.Tensor] = []
    if images:
        outputs = core.model.get_image_features(**images)
        placeholders = ids == core.config.image_token_id
        hidden = hidden.masked_scatter(placeholders[None, :, None], torch.cat(outputs.pooler_output).to(hidden))
        # Qwen3-VL adds features of further depths of its tower to the outputs of its first layers.
        deepstack = [
            # Later versions of transformers split the features by image.
            features if isinstance(features, torch.Tensor) else torch.cat(features)
            for features in getattr(outputs, "deepstack_features", None) or ()
        ]
        indices_of_images = placeholders.nonzero().squeeze(1) if deepstack else ids[:0]
    position_embeddings = rotary_embedding(core, hidden, positions[:, None])
    for number, layer in enumerate(language.layers):
        inputs = layer, language.config, hidden, position_embeddings, blocks
        if gradient_checkpointing and torch.is_grad_enabled():
            # No layer draws random numbers, so their state need not be stored.
            hidden = checkpoint(_layer, *inputs, use_reentrant=False, preserve_rng_state=False)
        else:
            hidden = _layer(*inputs)
        if number < len(deepstack):
            hidden = hidden.index_add(1, indices_of_images, deepstack[number].to(hidden)[None])
    states: torch.Tensor = language.norm(hidden[0].index_select(0, indices))
    return states


def _layer(
    layer: Any, config: Any, hidden: torch.Tensor, position_embeddings: Any, blocks: list[PrefixBlock]
) -> torch.Tensor:
    # Set here, so that both also apply when the backward pass runs the layer. PEFT casts inputs of a 32-bit adapter to
    # 32 bits, and autocast casts them back: the copies would be kept for the backward pass.
    autocast = torch.is_autocast_enabled(hidden.device.type)
    with patches.use_attention(config, NAME), disable_input_dtype_casting(layer, active=autocast):
        outputs: torch.Tensor = layer(hidden, attention_mask=blocks, position_embeddings=position_embeddings)
    return outputs


def _shared_prompt_attention(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    blocks: list[PrefixBlock],
    scaling: float,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each block: query [1, heads, tokens, width], key and value [1, key heads, tokens, width]."""
    outputs = []
    sizes = [block.tokens for block in blocks]
    split = (torch.split(tensor, sizes, dim=2) for tensor in (query, key, value))
    for block, *tensors in zip(blocks, *split, strict=True):
        prompt = [tensor[:, :, : block.prompt_tokens] for tensor in tensors]
        outputs.append(_prompt_attention(prompt, scaling))
        if block.rows:
            completions = [_pad(block, tensor[0, :, block.prompt_tokens :]) for tensor in tensors]
            outputs.append(_completion_attention(block, prompt, completions, scaling))
    return torch.cat(outputs, dim=1), None


def _prompt_attention(prompt: list[torch.Tensor], scaling: float) -> torch.Tensor:
    """Causal attention of a prompt to itself, [1, tokens, heads, width], from its query, key and value.

    Key heads are repeated, because only flash attention accepts shared ones, and a T4 does not have it.
    """
    query, *shared = prompt
    key, value = (tensor.repeat_interleave(query.shape[1] // tensor.shape[1], dim=1) for tensor in shared)
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling).transpose(1, 2)


def _pad(block: PrefixBlock, tensor: torch.Tensor) -> torch.Tensor:
    """[heads, completion tokens, width] as padded rows [rows, heads, longest, width]."""
    heads, _tokens, width = tensor.shape
    return tensor.index_select(1, block.padded_index).view(heads, block.rows, -1, width).transpose(0, 1)


def _completion_attention(
    block: PrefixBlock, prompt: list[torch.Tensor], completions: list[torch.Tensor], scaling: float
) -> torch.Tensor:
    """Attention of completions to their prompt and themselves, [1, completion tokens, heads, width].

    `prompt` and `completions` are query, key and value of each. Query heads that share a key head become rows of one
    query: otherwise keys and values would be repeated for each of them, because there is a mask.
    """
    _, *prompt_key_value = prompt
    query, *completion_key_value = completions
    rows, heads, _longest, width = query.shape
    key, value = (
        torch.cat([shared.expand(rows, -1, -1, -1), tail], dim=2)
        for shared, tail in zip(prompt_key_value, completion_key_value, strict=True)
    )
    folded = query.reshape(rows, key.shape[1], -1, width)
    attended = scaled_dot_product_attention(folded, key, value, attn_mask=block.mask, scale=scaling)
    cells = attended.reshape(rows, heads, -1, width).transpose(1, 2).flatten(0, 1)
    return cells.index_select(0, block.real_cells)[None]


ALL_ATTENTION_FUNCTIONS.register(NAME, _shared_prompt_attention)
