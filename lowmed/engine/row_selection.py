"""Which rows of a GRPO batch have a gradient, in which order they are forwarded, and how to select rows.

A batch is a dict as TRL's trainer holds it: tensors or lists with one entry for each row, and scalars.
"""

from collections.abc import Sequence
from typing import Any

import torch
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
