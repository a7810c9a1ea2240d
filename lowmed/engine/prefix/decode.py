"""One decoding step: a function of tensors with fixed addresses, in few kernels.

transformers reallocates the cache at every token, wraps every layer, and computes masks and rotations again. With one
token per row this costs as much as the arithmetic. Here a step reads and writes the same tensors every time, so that it
can be captured as a CUDA graph (`decoder.py`).

This package has its own loop over the decoder layers of the Qwen-VL families, of Llama and of the text models of Qwen.
It relies on their modules (`embed_tokens`, `layers`, `norm`, `rotary_emb`, `lm_head`), on their attention and MLP
layers, and in vision-language models on `get_rope_index` and `get_image_features`. A supported family sets
`ModelFamily.shared_prefix`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import embedding, rms_norm, scaled_dot_product_attention

from lowmed.engine.prefix.linear import LayerLinears
from lowmed.engine.sharding import in_turn
from lowmed.models import FAMILIES


def supports(core: Any) -> bool:
    """Whether `decode_step` can run a model: its family supports it, and all its layers have full attention."""
    family = FAMILIES.get(core.config.model_type)
    if family is None or not family.shared_prefix:
        return False
    # Llama's config has no layer types, because all its layers have full attention.
    types = getattr(core.config.get_text_config(), "layer_types", None) or ["full_attention"]
    return set(types) == {"full_attention"}


def language_model(core: Any) -> Any:
    """The module with the decoder layers."""
    return core.get_submodule(FAMILIES[core.config.model_type].language_model)


def rotary(core: Any, positions: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Cosine and sine of the rotary embedding of each step. The first half of the sines is negated.

    Args:
        core: the model.
        positions: [rows, steps], of text, where time, height and width are equal.
        like: a tensor with the dtype of the keys.

    Returns:
        [steps, 2, rows, 1, width].
    """
    cos, sin = rotary_embedding(core, like, positions.expand(3, -1, -1))
    sin[..., : sin.shape[-1] // 2].neg_()
    return torch.stack((cos, sin)).permute(2, 0, 1, 3)[:, :, :, None].contiguous()


def rotary_embedding(core: Any, like: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of positions.

    Args:
        core: the model.
        like: a tensor with the dtype of the keys.
        positions: [3, rows, tokens], of time, height and width.
    """
    cos, sin = language_model(core).rotary_emb(like, position_ids(core, positions))
    return cos, sin


def position_ids(core: Any, positions: torch.Tensor) -> torch.Tensor:
    """Positions [3, rows, tokens] as the model takes them; a text-only model takes one of the three equal ones."""
    return positions[0] if FAMILIES[core.config.model_type].text_only else positions


def decode_step(
    core: Any,
    linears: Sequence[LayerLinears],
    tokens: torch.Tensor,
    rotation: torch.Tensor,
    bias: torch.Tensor,
    position: torch.Tensor,
    keys: Sequence[torch.Tensor],
    values: Sequence[torch.Tensor],
) -> torch.Tensor:
    """One decoding step. It writes the token's keys and values at `position`.

    Query heads that share a key head become rows of one query. transformers repeats keys and values for each of them if
    there is a mask; for Qwen2-VL-2B this copies six times the whole cache at every token.

    Args:
        core: the model.
        linears: the linear layers of each decoder layer.
        tokens: [rows].
        rotation: [2, rows, 1, width], cosine and sine.
        bias: [rows, 1, 1, length], added to the attention scores.
        position: [1].
        keys: [rows, key heads, length, width] of each layer.
        values: as `keys`.

    Returns:
        Logits [rows, vocabulary].
    """
    language, rows = language_model(core), len(tokens)
    (cos, sin), (_, key_heads, _, width) = rotation, keys[0].shape
    hidden = embedding(tokens, language.embed_tokens.weight)
    for layer, linear, key, value in zip(in_turn(language.layers), linears, keys, values, strict=True):
        attention = layer.self_attn
        query, new_key, new_value = linear.query_key_value(_norm(layer.input_layernorm, hidden))
        if hasattr(attention, "q_norm"):  # Qwen3 normalizes each head
            query, new_key = (
                _norm(norm, tensor.view(rows, -1, width))
                for norm, tensor in ((attention.q_norm, query), (attention.k_norm, new_key))
            )
        heads = torch.cat((query.view(rows, -1, width), new_key.view(rows, -1, width)), dim=1)
        heads = torch.addcmul(heads * cos, heads.roll(width // 2, dims=2), sin)
        key.index_copy_(2, position, heads[:, -key_heads:, None])
        value.index_copy_(2, position, new_value.view(rows, key_heads, 1, width))
        queries = heads[:, :-key_heads].view(rows, key_heads, -1, width)
        attended = scaled_dot_product_attention(queries, key, value, attn_mask=bias)
        [hidden] = linear.output(attended.reshape(rows, -1), hidden)
        gate, up = linear.gate_up(_norm(layer.post_attention_layernorm, hidden))
        [hidden] = linear.down(layer.mlp.act_fn(gate) * up, hidden)
    logits: torch.Tensor = core.lm_head(_norm(language.norm, hidden))
    return logits


def _norm(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The RMS norm of Llama and Qwen in one kernel. It computes in 32 bits, and rounds once, after the weight."""
    return rms_norm(hidden, hidden.shape[-1:], module.weight, module.variance_epsilon)
