"""One decoding step over a preallocated KV cache.

transformers reallocates the cache at every token, wraps every layer, and computes masks and rotations again. With one
token per row this costs as much as the arithmetic. Here a step is one function of tensors, which writes into tensors of
fixed length, so that it can also be compiled (`decode_compiled.py`).

This package has its own loop over the decoder layers of the Qwen-VL families, of Llama and of the text models of Qwen.
It relies on their modules (`embed_tokens`, `layers`, `norm`, `rotary_emb`, `lm_head`), on their attention and MLP
layers, and in vision-language models on `get_rope_index` and `get_image_features`. A supported family sets
`ModelFamily.shared_prefix`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, rms_norm, scaled_dot_product_attention
from transformers import DynamicCache

from lowmed.models import FAMILIES
from lowmed.plan.memory import CACHE_BLOCK_TOKENS

LENGTH_STEP = CACHE_BLOCK_TOKENS["transformers"]  # the length of a cache is a multiple of this


@dataclass
class KVCache:
    """KV cache of a batch.

    Attributes:
        keys: [rows, key heads, capacity, width] of each layer; 0 where nothing was written yet.
        values: as `keys`.
        bias: [rows, 1, 1, capacity], added to the attention scores: 0 for visible tokens, -inf for all others.
        length: written tokens, including padding.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    bias: torch.Tensor
    length: int

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Drop all other rows."""
        for tensors in (self.keys, self.values):
            for layer, tensor in enumerate(tensors):  # one after the other, so that the cache never exists twice
                tensors[layer] = tensor[rows]
        self.bias = self.bias[rows]


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


class Decoder:
    """Reads one token of all rows at a time, into a cache that is freed after the last one."""

    drops_finished_rows = True  # whether completions that ended may leave the batch

    def begin(self, prefill: DynamicCache, mask: torch.Tensor, prompt_of_row: torch.Tensor, new_tokens: int) -> KVCache:
        """A cache with a copy of its prompt for each row, and space for more tokens.

        Args:
            prefill: cache of the distinct prompts.
            mask: [prompts, tokens], False for padding.
            prompt_of_row: index of the prompt of each row.
            new_tokens: tokens to reserve space for.
        """
        cache = allocate(prefill, len(prompt_of_row), round_up(mask.shape[1] + new_tokens, LENGTH_STEP))
        write_prefill(cache, prefill, mask, prompt_of_row)
        return cache

    def read(
        self, core: Any, linear: "Linear", cache: KVCache, tokens: torch.Tensor, rotation: torch.Tensor
    ) -> torch.Tensor:
        """Read one token of each row, and predict the next one.

        Args:
            core: the model.
            linear: calls its linear layers; a result of `choose_linear`.
            cache: cache of the rows; the token is added to it.
            tokens: [rows].
            rotation: rotary embedding of the token, one step of `rotary`.

        Returns:
            Logits [rows, vocabulary].
        """
        position = next_position(cache)
        length = round_up(cache.length, LENGTH_STEP)
        keys, values = ([tensor[:, :, :length] for tensor in tensors] for tensors in (cache.keys, cache.values))
        return decode_step(core, linear, tokens, rotation, cache.bias[..., :length], position, keys, values)


def allocate(prefill: DynamicCache, rows: int, capacity: int) -> KVCache:
    """An empty cache for `rows` rows of `capacity` tokens, with the dtype and device of another cache."""

    def like(written: torch.Tensor) -> torch.Tensor:
        return written.new_zeros((rows, written.shape[1], capacity, written.shape[3]))

    keys = [like(layer.keys) for layer in prefill.layers]
    return KVCache(keys, [like(layer.values) for layer in prefill.layers], keys[0].new_empty((rows, 1, 1, capacity)), 0)


def write_prefill(cache: KVCache, prefill: DynamicCache, mask: torch.Tensor, prompt_of_row: torch.Tensor) -> None:
    """Overwrite the cache with the prompt of each row. Additional rows of the cache see one arbitrary token.

    Args:
        cache: cache of the rows.
        prefill: cache of the distinct prompts.
        mask: [prompts, tokens], False for padding.
        prompt_of_row: index of the prompt of each row.
    """
    length, count = mask.shape[1], len(prompt_of_row)
    for layer, key, value in zip(prefill.layers, cache.keys, cache.values, strict=True):
        key[:count, :, :length] = layer.keys[prompt_of_row]
        value[:count, :, :length] = layer.values[prompt_of_row]
    cache.bias.fill_(-torch.inf)
    cache.bias[:count, :, :, :length].masked_fill_(mask[prompt_of_row][:, None, None], 0.0)
    cache.bias[count:, :, :, 0] = 0.0  # a softmax over no token would be NaN
    cache.length = length


def next_position(cache: KVCache) -> torch.Tensor:
    """The position of the next token [1]. Marks the token as visible."""
    cache.bias[:, :, :, cache.length] = 0.0
    position = torch.full((1,), cache.length, device=cache.bias.device)
    cache.length += 1
    return position


def round_up(count: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-count // step) * step


Linear = Callable[[Any, torch.Tensor], torch.Tensor]


def decode_step(
    core: Any,
    linear: Linear,
    tokens: torch.Tensor,
    rotation: torch.Tensor,
    bias: torch.Tensor,
    position: torch.Tensor,
    keys: list[torch.Tensor],
    values: list[torch.Tensor],
) -> torch.Tensor:
    """One decoding step, a function of tensors only. It writes the token's keys and values at `position`.

    Query heads that share a key head become rows of one query. transformers repeats keys and values for each of them if
    there is a mask; for Qwen2-VL-2B this copies six times the whole cache at every token.

    Args:
        core: the model.
        linear: calls its linear layers.
        tokens: [rows].
        rotation: [2, rows, 1, width], cosine and sine.
        bias: [rows, 1, 1, length], added to the attention scores.
        position: [1].
        keys: [rows, key heads, length, width] of each layer.
        values: as `keys`.

    Returns:
        Logits [rows, vocabulary].
    """
    # By attribute, because torch.compile traces this function. A text-only model is its own language model.
    language, rows = getattr(core.model, "language_model", core.model), len(tokens)
    (cos, sin), (_, key_heads, _, width) = rotation, keys[0].shape
    hidden = embedding(tokens, language.embed_tokens.weight)
    for layer, key, value in zip(language.layers, keys, values, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        normed = _norm(layer.input_layernorm, hidden)
        query, new_key = linear(attention.q_proj, normed), linear(attention.k_proj, normed)
        if hasattr(attention, "q_norm"):  # Qwen3 normalizes each head
            query, new_key = (
                _norm(norm, tensor.view(rows, -1, width))
                for norm, tensor in ((attention.q_norm, query), (attention.k_norm, new_key))
            )
        heads = torch.cat((query.view(rows, -1, width), new_key.view(rows, -1, width)), dim=1)
        heads = heads * cos + heads.roll(width // 2, dims=2) * sin
        key.index_copy_(2, position, heads[:, -key_heads:, None])
        value.index_copy_(2, position, linear(attention.v_proj, normed).view(rows, key_heads, 1, width))
        queries = heads[:, :-key_heads].view(rows, key_heads, -1, width)
        attended = scaled_dot_product_attention(queries, key, value, attn_mask=bias)
        hidden = hidden + linear(attention.o_proj, attended.reshape(rows, -1))
        normed = _norm(layer.post_attention_layernorm, hidden)
        gated = mlp.act_fn(linear(mlp.gate_proj, normed)) * linear(mlp.up_proj, normed)
        hidden = hidden + linear(mlp.down_proj, gated)
    logits: torch.Tensor = core.lm_head(_norm(language.norm, hidden))
    return logits


def choose_linear(core: Any) -> Linear:
    """A function that calls the model's linear layers: plain LoRA by its formula, all other layers through PEFT."""
    adapted = [module for module in language_model(core).modules() if hasattr(module, "lora_A")]
    return _lora_linear if adapted and all(_is_plain_lora(module) for module in adapted) else _call


def _is_plain_lora(layer: Any) -> bool:
    names = layer.active_adapters
    if layer.disable_adapters or layer.merged or len(names) != 1 or names[0] not in layer.lora_A:
        return False
    dropout = layer.lora_dropout[names[0]]
    no_dropout = isinstance(dropout, torch.nn.Identity) or not dropout.training
    return no_dropout and names[0] not in layer.lora_variant and layer.lora_B[names[0]].bias is None


def _call(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    outputs: torch.Tensor = layer(inputs)
    return outputs


def _lora_linear(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    if not hasattr(layer, "lora_A"):
        return _call(layer, inputs)
    name = layer.active_adapters[0]
    outputs = layer.base_layer(inputs)
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    low_rank = inputs.to(down.dtype) @ down.t()
    return torch.addmm(outputs.to(up.dtype), low_rank, up.t(), alpha=layer.scaling[name]).to(outputs.dtype)


def _norm(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The RMS norm of Llama and Qwen: 32-bit up to the multiplication by its weight."""
    normed = rms_norm(hidden.float(), hidden.shape[-1:], eps=module.variance_epsilon)
    return module.weight * normed.to(hidden.dtype)  # type: ignore[no-any-return]  # transformers is untyped
