"""One more token for every row: the language model's layers, walked over keys and values whose room is there already.

transformers lays out the whole cache anew at every token, wraps every layer and works out masks and rotations again;
for one token a row that costs as much as the arithmetic. Here a step is one plain function of tensors, which writes
into rooms of fixed length. So it can also be compiled (`compiled.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, rms_norm, scaled_dot_product_attention
from transformers import DynamicCache

from lowmed.models import FAMILIES
from lowmed.plan.memory import CACHE_BLOCK_TOKENS

STEP_TOKENS = CACHE_BLOCK_TOKENS["transformers"]


@dataclass
class KVCache:
    """What the rows have read so far.

    Attributes:
        keys: [rows, key heads, room, width] of each layer; 0 where nothing was written yet.
        values: likewise.
        seen: [rows, 1, 1, room], added to what attention finds: 0 for tokens that count, -inf for all others.
        length: tokens that were written, padding counted.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    seen: torch.Tensor
    length: int

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        for rooms in (self.keys, self.values):
            for layer, room in enumerate(rooms):  # one after the other, so that the cache is never held twice
                rooms[layer] = room[rows]
        self.seen = self.seen[rows]


def supports(core: Any) -> bool:
    """Whether `decode_step` can run a model's layers: a family known to be so, all of its layers with full attention."""
    family = FAMILIES.get(core.config.model_type)
    return bool(family and family.shared_prefix) and set(core.config.text_config.layer_types) == {"full_attention"}


def rotary(core: Any, positions: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Cosine and sine of every step's rotation [steps, 2, rows, 1, width]; the first half of the sines is negative.

    Args:
        core: the model.
        positions: [rows, steps], of text, which stands at one place in time, height and width.
        like: a tensor of the keys' type.
    """
    cos, sin = core.model.language_model.rotary_emb(like, positions.expand(3, -1, -1))
    sin[..., : sin.shape[-1] // 2].neg_()
    return torch.stack((cos, sin)).permute(2, 0, 1, 3)[:, :, :, None].contiguous()


class Decoder:
    """Reads the tokens of all rows as they come, in rooms that are thrown away after the last one."""

    drops_rows = True  # those that ended may leave the batch

    def begin(self, cache: DynamicCache, mask: torch.Tensor, rows: torch.Tensor, more: int) -> KVCache:
        """Room for more tokens after prompts that were read, each row with a copy of its prompt.

        Args:
            cache: of the distinct prompts.
            mask: [prompts, tokens], False for padding.
            rows: for each row the prompt that it goes on from.
            more: tokens.
        """
        past = allocate(cache, len(rows), round_up(mask.shape[1] + more, STEP_TOKENS))
        write_prefill(past, cache, mask, rows)
        return past

    def read(
        self, core: Any, linear: "Linear", past: KVCache, tokens: torch.Tensor, turn: torch.Tensor
    ) -> torch.Tensor:
        """Read one token of every row and say what may follow it.

        Args:
            core: the model.
            linear: how its linear layers are called, of `linear_of`.
            past: the rows' past, which the token is added to.
            tokens: [rows].
            turn: its rotation, a step of `turns`.

        Returns:
            Logits [rows, vocabulary].
        """
        place = next_position(past)
        window = round_up(past.length, STEP_TOKENS)
        keys, values = ([each[:, :, :window] for each in rooms] for rooms in (past.keys, past.values))
        return decode_step(core, linear, tokens, turn, past.seen[..., :window], place, keys, values)


def allocate(cache: DynamicCache, rows: int, room: int) -> KVCache:
    """Room for so many tokens of so many rows, of the kind of a cache that was written."""

    def like(written: torch.Tensor) -> torch.Tensor:
        return written.new_zeros((rows, written.shape[1], room, written.shape[3]))

    keys = [like(layer.keys) for layer in cache.layers]
    return KVCache(keys, [like(layer.values) for layer in cache.layers], keys[0].new_empty((rows, 1, 1, room)), 0)


def write_prefill(past: KVCache, cache: DynamicCache, mask: torch.Tensor, rows: torch.Tensor) -> None:
    """Begin anew with the prompts that were read; rows that are not asked for see one token, whatever it is."""
    length, count = mask.shape[1], len(rows)
    for layer, key, value in zip(cache.layers, past.keys, past.values, strict=True):
        key[:count, :, :length] = layer.keys[rows]
        value[:count, :, :length] = layer.values[rows]
    past.seen.fill_(-torch.inf)
    past.seen[:count, :, :, :length].masked_fill_(mask[rows][:, None, None], 0.0)
    past.seen[count:, :, :, 0] = 0.0  # the softmax of nothing is no number
    past.length = length


def next_position(past: KVCache) -> torch.Tensor:
    """Where the next token goes [1]; from now on it counts."""
    past.seen[:, :, :, past.length] = 0.0
    place = torch.full((1,), past.length, device=past.seen.device)
    past.length += 1
    return place


def round_up(count: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-count // step) * step


Linear = Callable[[Any, torch.Tensor], torch.Tensor]


def decode_step(
    core: Any,
    linear: Linear,
    tokens: torch.Tensor,
    turn: torch.Tensor,
    seen: torch.Tensor,
    place: torch.Tensor,
    keys: list[torch.Tensor],
    values: list[torch.Tensor],
) -> torch.Tensor:
    """The step itself, of tensors alone; it writes the token's keys and values at `place` [1].

    Heads that share a key are rows of one query: transformers repeats keys and values for each of them as soon as there
    is a mask, which is six times the whole cache at every token for Qwen2-VL-2B.
    """
    language, rows = core.model.language_model, len(tokens)
    (cos, sin), (_, groups, _, width) = turn, keys[0].shape
    hidden = embedding(tokens, language.embed_tokens.weight)
    for layer, key, value in zip(language.layers, keys, values, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        normed = _norm(layer.input_layernorm, hidden)
        query = linear(attention.q_proj, normed)
        asked = torch.cat((query, linear(attention.k_proj, normed)), dim=1).view(rows, -1, width)
        asked = asked * cos + asked.roll(width // 2, dims=2) * sin
        key.index_copy_(2, place, asked[:, -groups:, None])
        value.index_copy_(2, place, linear(attention.v_proj, normed).view(rows, groups, 1, width))
        shared = asked[:, :-groups].view(rows, groups, -1, width)
        result = scaled_dot_product_attention(shared, key, value, attn_mask=seen)
        hidden = hidden + linear(attention.o_proj, result.reshape(rows, -1))
        normed = _norm(layer.post_attention_layernorm, hidden)
        gated = mlp.act_fn(linear(mlp.gate_proj, normed)) * linear(mlp.up_proj, normed)
        hidden = hidden + linear(mlp.down_proj, gated)
    logits: torch.Tensor = core.lm_head(_norm(language.norm, hidden))
    return logits


def linear_layer(core: Any) -> Linear:
    """How the model's linear layers are called: ordinary LoRA by its arithmetic alone, all else as PEFT does it."""
    adapted = [each for each in core.model.language_model.modules() if hasattr(each, "lora_A")]
    return _adapted if adapted and all(_ordinary(each) for each in adapted) else _called


def _ordinary(layer: Any) -> bool:
    names = layer.active_adapters
    if layer.disable_adapters or layer.merged or len(names) != 1 or names[0] not in layer.lora_A:
        return False
    dropout = layer.lora_dropout[names[0]]
    still = isinstance(dropout, torch.nn.Identity) or not dropout.training
    return still and names[0] not in layer.lora_variant and layer.lora_B[names[0]].bias is None


def _called(layer: Any, given: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = layer(given)
    return result


def _adapted(layer: Any, given: torch.Tensor) -> torch.Tensor:
    if not hasattr(layer, "lora_A"):
        return _called(layer, given)
    name = layer.active_adapters[0]
    result = layer.base_layer(given)
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    narrow = given.to(down.dtype) @ down.t()
    return torch.addmm(result.to(up.dtype), narrow, up.t(), alpha=layer.scaling[name]).to(result.dtype)


def _norm(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Qwen2's norm, in 32 bit up to its weight, which is as wide as the layer's input."""
    result = rms_norm(hidden.float(), hidden.shape[-1:], eps=module.variance_epsilon)
    return module.weight * result.to(hidden.dtype)  # type: ignore[no-any-return]  # transformers is untyped
