"""Completions scored with each prompt read once: how the rows of a batch become one row of tokens, and back."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from lowmed.engine.prefix import attention, logprobs
from lowmed.engine.prefix.sampling import mrope_positions, unwrapped

Inputs = dict[str, Any]
IMAGE_INPUTS = ("pixel_values", "image_grid_thw")


@dataclass(frozen=True)
class Packed:
    """The tokens of some rows: each distinct prompt once, and after it those of its completions that predict another.

    Attributes:
        ids: [tokens].
        positions: [3, tokens], of M-RoPE.
        blocks: a prompt and its completions each.
        images: `pixel_values` and `image_grid_thw` of the distinct prompts, or nothing.
        before: [counted], for each completion token the place of the token before it.
        targets: [counted], the completion tokens themselves.
        cells: [counted], their places in rows of one length.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    blocks: list[attention.PrefixBlock]
    images: Inputs
    before: torch.Tensor
    targets: torch.Tensor
    cells: torch.Tensor


def pack(model: Any, inputs: Inputs, reply_length: int) -> Packed:
    """Lay out the rows of a batch.

    Args:
        model: one that `decode.supports`.
        inputs: `input_ids` and `attention_mask` [rows, prompt and completion], prompts padded on the left and completions on the
            right; where there are images `pixel_values` and `image_grid_thw`, a tensor a row, and `mm_token_type_ids`.
        reply_length: columns of the completion.
    """
    core, device = unwrapped(model), inputs["input_ids"].device
    fields = [inputs[name].long() for name in ("input_ids", "attention_mask", "mm_token_type_ids") if name in inputs]
    ids, mask, *kinds = torch.stack(fields).cpu()  # one look at the card; the layout is worked out on the host
    width = ids.shape[1] - reply_length
    firsts, owners = same_prompts(ids[:, :width], inputs.get("pixel_values"))
    images = {name: torch.cat([inputs[name][row] for row in firsts]) for name in IMAGE_INPUTS if name in inputs}
    if not images or not len(images["image_grid_thw"]):
        images = {}
    asked = {"input_ids": ids[firsts, :width], "attention_mask": mask[firsts, :width]}
    asked |= {"mm_token_type_ids": kinds[0][firsts, :width]} if kinds else {}
    asked |= {"image_grid_thw": images["image_grid_thw"].cpu()} if images else {}
    turns = mrope_positions(core.model, asked)
    text = core.config.text_config
    heads_a_key = text.num_attention_heads // text.num_key_value_heads
    lengths = mask[:, width:].sum(dim=1).tolist()
    blocks: list[attention.PrefixBlock] = []
    tokens, positions = [], []
    before: list[int] = []
    cells: list[int] = []
    start = 0
    for prompt, first in enumerate(firsts):
        inside = mask[first, :width].bool()
        at = turns[:, prompt, inside]
        tokens.append(ids[first, :width][inside])
        positions.append(at)
        last = start + len(tokens[-1]) - 1
        start = last + 1
        rows = [row for row, owner in enumerate(owners) if owner == prompt]
        read = [max(lengths[row] - 1, 0) for row in rows]  # a completion's last token predicts none
        for row, count in zip(rows, read, strict=True):
            tokens.append(ids[row, width : width + count])
            positions.append((at.max() + 1 + torch.arange(count)).expand(3, -1))
            before += [last, *range(start, start + count)][: lengths[row]]
            cells += range(row * reply_length, row * reply_length + lengths[row])
            start += count
        blocks.append(attention.prefix_block(last + 1 - sum(each.tokens for each in blocks), read, heads_a_key, device))
    places = torch.tensor(cells, dtype=torch.long)
    return Packed(
        torch.cat(tokens).to(device),
        torch.cat(positions, dim=1).to(device),
        blocks,
        images,
        torch.tensor(before, dtype=torch.long, device=device),
        ids[:, width:].flatten()[places].to(device),
        places.to(device),
    )


def same_prompts(prompt_ids: torch.Tensor, images: list[torch.Tensor] | None) -> tuple[list[int], list[int]]:
    """The rows where each prompt stands first, and for every row which of those it asks; by tokens and pixels.

    Args:
        prompt_ids: [rows, tokens].
        images: the pixels of each row's images, or None.
    """
    lines = prompt_ids.tolist()
    firsts: list[int] = []
    owners: list[int] = []
    for row, line in enumerate(lines):
        for number, first in enumerate(firsts):
            if lines[first] == line and (images is None or _equal(images[first], images[row])):
                owners.append(number)
                break
        else:
            owners.append(len(firsts))
            firsts.append(row)
    return firsts, owners


def log_probs(
    model: Any,
    inputs: Inputs,
    reply_length: int,
    *,
    temperature: float,
    gradient_checkpointing: bool,
    autocast: AbstractContextManager[Any],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of every completion token, each distinct prompt forwarded once.

    It is the forward of each row whole, and its gradient, up to rounding.

    Args:
        model: one that `decode.supports`, with or without an adapter.
        inputs: as for `pack`.
        reply_length: columns of the completion.
        temperature: what the logits are divided by.
        gradient_checkpointing: keep each layer's input alone for the backward pass, and run the layer again there.
        autocast: the precision of the forward pass.

    Returns:
        Both [rows, reply_length]; 0 where nothing counts.
    """
    packed = pack(model, inputs, reply_length)
    with autocast:
        hidden = attention.hidden_states(
            model, packed.ids, packed.positions, packed.images, packed.blocks, packed.before, gradient_checkpointing
        )
        head = unwrapped(model).get_output_embeddings()
        result = logprobs.of_targets(head, hidden, packed.targets, temperature)
    rows = len(inputs["input_ids"])
    scores, entropies = (
        each.new_zeros(rows * reply_length).index_copy(0, packed.cells, each).view(rows, reply_length)
        for each in result
    )
    return scores, entropies


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or torch.equal(one, other)
