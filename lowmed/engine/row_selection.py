"""Which rows of a GRPO batch have a gradient, in which order they are forwarded, and how to select rows.

A batch is a dict as TRL's trainer holds it: tensors or lists with one entry for each row, and scalars.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from trl.trainer.utils import split_pixel_values_by_grid

Inputs = dict[str, Any]


def zero_variance_rows(advantages: torch.Tensor, num_generations: int) -> torch.Tensor:
    """Rows of groups whose completions all earned the same reward. Their advantages are 0 in exact arithmetic.

    TRL divides by a standard deviation that rounding keeps above 0, so that all advantages of such a group may be
    0.001. They are then equal to the last bit.

    Args:
        advantages: [rows], group by group. They sum to 0 in a group, so that equal ones mean 0.
        num_generations: completions per prompt.

    Returns:
        [rows], bool.
    """
    groups = advantages.view(-1, num_generations)
    return (groups == groups[:, :1]).all(dim=1).repeat_interleave(num_generations)


def forward_order(skipped: torch.Tensor, lengths: torch.Tensor, num_generations: int) -> list[int]:
    """The order of all rows: skipped rows first, then groups in the order of their longest completion.

    Args:
        skipped: [rows], rows without a gradient.
        lengths: [rows], tokens of the completions.
        num_generations: completions per prompt.
    """
    longest = lengths.masked_fill(skipped, 0).view(-1, num_generations).amax(dim=1).tolist()
    skip = skipped.tolist()

    def key(row: int) -> tuple[bool, int, int]:
        return not skip[row], longest[row // num_generations], row // num_generations

    return sorted(range(len(skip)), key=key)


def split_images_by_row(inputs: Inputs, num_generations: int) -> Inputs:
    """The batch with a list of pixel values, one for each row. The rows of a group share one tensor.

    Args:
        inputs: one batch of completions as TRL's trainer made it, group by group.
        num_generations: completions per prompt.
    """
    split: Inputs = dict(split_pixel_values_by_grid(inputs))
    if "pixel_values" in split:
        first_of_group = [pixels.clone() for pixels in split["pixel_values"][::num_generations]]  # frees the others
        split["pixel_values"] = [pixels for pixels in first_of_group for _ in range(num_generations)]
    return split


def select_rows(inputs: Inputs, rows: Sequence[int]) -> Inputs:
    """Some rows of a batch, in the given order. Pixel values must be a list, one entry for each row."""

    def select(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return [value[row] for row in rows]
        return value[torch.tensor(rows, dtype=torch.long, device=value.device)] if value.ndim else value

    return {name: select(value) for name, value in inputs.items()}


def replace_groups(
    batch: Inputs, others: Inputs, places: Mapping[int, int], num_generations: int, pad_token: int
) -> Inputs:
    """The batch with some of its groups replaced by groups of another batch.

    Args:
        batch: rows as of `split_images_by_row`.
        others: as `batch`, with prompts and completions of another length.
        places: number of a group in `batch` -> number of the group in `others` that takes its place.
        num_generations: completions per prompt.
        pad_token: id of the token that fills rows.
    """
    rows = len(batch["prompt_ids"])
    joined = _concatenate(batch, others, pad_token)
    order = [
        (rows + places[group] * num_generations if group in places else group * num_generations) + member
        for group in range(rows // num_generations)
        for member in range(num_generations)
    ]
    return select_rows(joined, order)


def _concatenate(first: Inputs, second: Inputs, pad_token: int) -> Inputs:
    """The rows of two batches in one. Scalars are those of the first."""
    counts = [len(batch["prompt_ids"]) for batch in (first, second)]
    prompt, completion = (
        max(batch[name].shape[1] for batch in (first, second)) for name in ("prompt_ids", "completion_ids")
    )
    joined: Inputs = {}
    for name in {**first, **second}:
        known = first[name] if name in first else second[name]
        if isinstance(known, torch.Tensor) and known.ndim == 0:
            joined[name] = known
            continue
        values: list[Any] = []
        for batch, count in zip((first, second), counts, strict=True):
            if name in batch:
                value = batch[name]
            elif isinstance(known, list):  # a batch without any image has none of these
                value = [known[0][:0] if isinstance(known[0], torch.Tensor) else 0] * count
            else:
                widths = batch["prompt_ids"].shape[1] + batch["completion_ids"].shape[1]
                value = known.new_zeros(count, widths)
            if isinstance(value, torch.Tensor) and value.ndim == 2:
                left = prompt - batch["prompt_ids"].shape[1] if name.startswith(("prompt", "mm_token")) else 0
                right = 0 if name.startswith("prompt") else completion - batch["completion_ids"].shape[1]
                value = pad(value, (left, right), value=pad_token if name.endswith("_ids") and "mm_" not in name else 0)
            values.append(value)
        joined[name] = torch.cat(values) if isinstance(known, torch.Tensor) else [*values[0], *values[1]]
    return joined
