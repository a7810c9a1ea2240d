"""The forward pass over completions that share prompts: every token once, all of them in one row without padding.

A decoder layer treats tokens one by one everywhere but in its attention. So the tokens of all prompts and completions stand
in one row, each prompt once and its completions after it, and only the attention knows which of them see each other: a
prompt itself, a completion its prompt and itself. The gradients of all completions meet in the keys and values of their one
prompt. With checkpointing a layer keeps its input alone, and is run again in the backward pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lowmed.engine.prefix.sampling import unwrapped


@dataclass(frozen=True)
class PrefixBlock:
    """A prompt and its completions: where the completions stand when they are laid out as rows of one length.

    Attributes:
        prompt: tokens of the prompt.
        completions: rows of the layout; 0 where no completion has a token that the model reads.
        tokens: of prompt and completions together.
        places: [completions * longest], for each place of the layout a completion token of the block; any one for padding.
        real: [completion tokens], the places that are no padding.
        mask: [heads a key * longest, prompt + longest], which keys a place sees.
    """

    prompt: int
    completions: int
    tokens: int
    places: torch.Tensor
    real: torch.Tensor
    mask: torch.Tensor


def prefix_block(prompt: int, completions: Sequence[int], heads_a_key: int, device: torch.device) -> PrefixBlock:
    """The block of a prompt of so many tokens and completions of so many.

    Args:
        prompt: tokens.
        completions: tokens of each completion that the model reads, which are all but its last.
        heads_a_key: query heads that share a key.
        device: of the tensors.
    """
    lengths = torch.tensor(completions, dtype=torch.long)
    longest = max(completions, default=0)
    columns = torch.arange(longest)
    starts = lengths.cumsum(0) - lengths
    places = (starts[:, None] + torch.minimum(columns, lengths[:, None] - 1)).clamp(min=0)
    return PrefixBlock(
        prompt,
        len(completions) if longest else 0,
        prompt + sum(completions),
        places.flatten().to(device),
        (columns < lengths[:, None]).flatten().nonzero().squeeze(1).to(device),
        torch.ones(longest, prompt + longest, dtype=torch.bool, device=device).tril(prompt).repeat(heads_a_key, 1),
    )


def hidden_states(
    model: Any,
    ids: torch.Tensor,
    positions: torch.Tensor,
    images: Mapping[str, Any],
    blocks: list[PrefixBlock],
    wanted: torch.Tensor,
    gradient_checkpointing: bool,
) -> torch.Tensor:
    """The last hidden states of some tokens.

    Args:
        model: one that `decode.knows`, with or without an adapter.
        ids: [tokens], block by block.
        positions: [3, tokens], of M-RoPE.
        images: `pixel_values` and `image_grid_thw` of the images in the order of the prompts, or nothing.
        blocks: that the tokens make up.
        wanted: [wanted], places of tokens.
        gradient_checkpointing: keep each layer's input alone for the backward pass, and run the layer again there.

    Returns:
        [wanted, width].
    """
    core = unwrapped(model)
    language = core.model.language_model
    hidden = language.embed_tokens(ids[None])
    if images:
        features = torch.cat(core.model.get_image_features(**images).pooler_output).to(hidden)
        hidden = hidden.masked_scatter((ids == core.config.image_token_id)[None, :, None], features)
    turns = language.rotary_emb(hidden, positions[:, None])
    for layer in language.layers:
        given = layer, language.config, hidden, turns, blocks
        if gradient_checkpointing and torch.is_grad_enabled():
            hidden = checkpoint(
                _layer, *given, use_reentrant=False, preserve_rng_state=False
            )  # no layer draws anything
        else:
            hidden = _layer(*given)
    result: torch.Tensor = language.norm(hidden[0].index_select(0, wanted))
    return result


def _layer(layer: Any, config: Any, hidden: torch.Tensor, turns: Any, blocks: list[PrefixBlock]) -> torch.Tensor:
    with _shared_attention(config):  # in here, so that it holds too when the backward pass runs the layer again
        result: torch.Tensor = layer(hidden, attention_mask=blocks, position_embeddings=turns)
    return result


@contextmanager
def _shared_attention(config: Any) -> Iterator[None]:
    before, config._attn_implementation = config._attn_implementation, "shared_prompt"
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    blocks: list[PrefixBlock],
    scaling: float,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each block: query [1, heads, tokens, width], key and value [1, key heads, tokens, width]."""
    result = []
    sizes = [each.tokens for each in blocks]
    for each, *parts in zip(blocks, *(torch.split(part, sizes, dim=2) for part in (query, key, value)), strict=True):
        prompt = [part[:, :, : each.prompt] for part in parts]
        result.append(_causal(prompt, scaling))
        if each.completions:
            completions = [_rows(each, part[0, :, each.prompt :]) for part in parts]
            result.append(_after_prompt(each, prompt, completions, scaling))
    return torch.cat(result, dim=1), None


def _causal(prompt: list[torch.Tensor], scaling: float) -> torch.Tensor:
    """What a prompt attends to of itself, [1, tokens, heads, width], of its query, key and value.

    Keys are repeated: flash attention alone would take them shared, and a T4 has none.
    """
    query, *shared = prompt
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in shared)
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling).transpose(1, 2)


def _rows(block: PrefixBlock, part: torch.Tensor) -> torch.Tensor:
    """[heads, completion tokens, width] laid out as [completions, heads, longest, width]."""
    heads, _tokens, width = part.shape
    return part.index_select(1, block.places).view(heads, block.completions, -1, width).transpose(0, 1)


def _after_prompt(
    block: PrefixBlock, prompt: list[torch.Tensor], completions: list[torch.Tensor], scaling: float
) -> torch.Tensor:
    """What the completions of a block attend to, [1, completion tokens, heads, width], of the query, key and value of both.

    Heads that share a key are rows of one query: with a mask, keys and values would be repeated for each of them.
    """
    _, *earlier = prompt
    query, *later = completions
    rows, heads, _longest, width = query.shape
    key, value = (
        torch.cat([old.expand(rows, -1, -1, -1), new], dim=2) for old, new in zip(earlier, later, strict=True)
    )
    folded = query.reshape(rows, key.shape[1], -1, width)
    result = scaled_dot_product_attention(folded, key, value, attn_mask=block.mask, scale=scaling)
    laid_out = result.reshape(rows, heads, -1, width).transpose(1, 2).flatten(0, 1)
    return laid_out.index_select(0, block.real)[None]


ALL_ATTENTION_FUNCTIONS.register("shared_prompt", _attend)
