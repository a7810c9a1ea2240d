"""Log-probabilities of completions with each prompt read once: a batch is packed into one row of tokens."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from lowmed.engine.prefix import attention, logprobs
from lowmed.engine.prefix.decode import language_model
from lowmed.engine.prefix.sampling import token_positions, unwrapped

Inputs = dict[str, Any]
IMAGE_INPUTS = ("pixel_values", "image_grid_thw")


@dataclass(frozen=True)
class PackedBatch:
    """A batch as one row of tokens: each distinct prompt once, followed by its completions without their last tokens.

    Attributes:
        ids: [tokens].
        positions: [3, tokens], of M-RoPE.
        blocks: one for each prompt, with its completions.
        images: `pixel_values` and `image_grid_thw` of the distinct prompts, or empty.
        previous: [targets], index of the token before each target.
        targets: [targets], the tokens of the completions.
        target_cells: [targets], their indices in the flattened [rows, completion_length] layout.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    blocks: list[attention.PrefixBlock]
    images: Inputs
    previous: torch.Tensor
    targets: torch.Tensor
    target_cells: torch.Tensor


def pack(model: Any, inputs: Inputs, completion_length: int) -> PackedBatch:
    """Pack the rows of a batch.

    Args:
        model: one that `decode.supports`.
        inputs: `input_ids` and `attention_mask` [rows, prompt and completion], prompts padded on the left and
            completions on the right. With images also `pixel_values` and `image_grid_thw`, one tensor for each row, and
            `mm_token_type_ids`.
        completion_length: columns of the completion.
    """
    core, device = unwrapped(model), inputs["input_ids"].device
    fields = [inputs[name].long() for name in ("input_ids", "attention_mask", "mm_token_type_ids") if name in inputs]
    ids, mask, *kinds = torch.stack(fields).cpu()  # one transfer; the packing is computed on the CPU
    width = ids.shape[1] - completion_length
    first_rows, prompt_of_row = group_by_prompt(ids[:, :width], inputs.get("pixel_values"))
    images = {name: torch.cat([inputs[name][row] for row in first_rows]) for name in IMAGE_INPUTS if name in inputs}
    if not images or not len(images["image_grid_thw"]):
        images = {}
    prompts = {"input_ids": ids[first_rows, :width], "attention_mask": mask[first_rows, :width]}
    prompts |= {"mm_token_type_ids": kinds[0][first_rows, :width]} if kinds else {}
    prompts |= {"image_grid_thw": images["image_grid_thw"].cpu()} if images else {}
    prompt_positions = token_positions(core, prompts)
    text = core.config.get_text_config()
    heads_per_key = text.num_attention_heads // text.num_key_value_heads
    scores = torch.empty(0, dtype=language_model(core).embed_tokens.weight.dtype, device=device)
    lengths = mask[:, width:].sum(dim=1).tolist()
    blocks: list[attention.PrefixBlock] = []
    tokens, positions = [], []
    previous: list[int] = []
    target_cells: list[int] = []
    start = 0
    for prompt, first_row in enumerate(first_rows):
        not_padding = mask[first_row, :width].bool()
        positions_of_prompt = prompt_positions[:, prompt, not_padding]
        tokens.append(ids[first_row, :width][not_padding])
        positions.append(positions_of_prompt)
        prompt_start, start = start, start + len(tokens[-1])
        last_of_prompt = start - 1
        rows = [row for row, number in enumerate(prompt_of_row) if number == prompt]
        read = [max(lengths[row] - 1, 0) for row in rows]  # the last token of a completion predicts nothing
        for row, count in zip(rows, read, strict=True):
            tokens.append(ids[row, width : width + count])
            positions.append((positions_of_prompt.max() + 1 + torch.arange(count)).expand(3, -1))
            previous += [last_of_prompt, *range(start, start + count)][: lengths[row]]
            target_cells += range(row * completion_length, row * completion_length + lengths[row])
            start += count
        blocks.append(attention.prefix_block(last_of_prompt + 1 - prompt_start, read, heads_per_key, scores))
    cells = torch.tensor(target_cells, dtype=torch.long)
    return PackedBatch(
        torch.cat(tokens).to(device),
        torch.cat(positions, dim=1).to(device),
        blocks,
        images,
        torch.tensor(previous, dtype=torch.long, device=device),
        ids[:, width:].flatten()[cells].to(device),
        cells.to(device),
    )


def group_by_prompt(prompt_ids: torch.Tensor, images: list[torch.Tensor] | None) -> tuple[list[int], list[int]]:
    """Find rows with equal prompts, by tokens and pixels.

    Args:
        prompt_ids: [rows, tokens].
        images: the pixels of each row's images, or None.

    Returns:
        The first row of each distinct prompt, and for every row the number of its prompt.
    """
    lines = prompt_ids.tolist()
    first_rows: list[int] = []
    prompt_of_row: list[int] = []
    for row, line in enumerate(lines):
        for number, first in enumerate(first_rows):
            if lines[first] == line and (images is None or _equal(images[first], images[row])):
                prompt_of_row.append(number)
                break
        else:
            prompt_of_row.append(len(first_rows))
            first_rows.append(row)
    return first_rows, prompt_of_row


def log_probs(
    model: Any,
    inputs: Inputs,
    completion_length: int,
    *,
    temperature: float,
    gradient_checkpointing: bool,
    autocast: AbstractContextManager[Any],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of every completion token, with each distinct prompt forwarded once.

    Values and gradients equal those of forwarding each row alone, up to rounding.

    Args:
        model: one that `decode.supports`, with or without an adapter.
        inputs: as for `pack`.
        completion_length: columns of the completion.
        temperature: divisor of the logits.
        gradient_checkpointing: store only the input of each layer, and run the layer again in the backward pass.
        autocast: the precision of the forward pass.

    Returns:
        Both [rows, completion_length]; 0 for padding.
    """
    packed = pack(model, inputs, completion_length)
    with autocast:
        hidden = attention.hidden_states(
            model, packed.ids, packed.positions, packed.images, packed.blocks, packed.previous, gradient_checkpointing
        )
        head = unwrapped(model).get_output_embeddings()
        log_probs_and_entropy = logprobs.target_log_probs(head, hidden, packed.targets, temperature)
    rows = len(inputs["input_ids"])
    values, entropies = (
        flat.new_zeros(rows * completion_length).index_copy(0, packed.target_cells, flat).view(rows, completion_length)
        for flat in log_probs_and_entropy
    )
    return values, entropies


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first is second or torch.equal(first, second)
