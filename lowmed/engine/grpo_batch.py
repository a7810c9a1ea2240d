"""A batch of completions as TRL's trainer holds it: which rows can move the model, and the order they are forwarded in."""

from collections.abc import Sequence
from typing import Any

import torch
from trl.trainer.utils import split_pixel_values_by_grid

Inputs = dict[str, Any]


def zero_spread(advantages: torch.Tensor, num_generations: int) -> torch.Tensor:
    """Rows of groups whose completions all earned the same, which says nothing about any of them.

    TRL divides by a standard deviation that rounding keeps above 0, so that such a group's advantages, 0 in exact
    arithmetic, may all be 0.001; they are equal to the last bit.

    Args:
        advantages: [rows], group by group. They sum to 0 in a group, so that equal ones stand for 0.
        num_generations: completions per question.

    Returns:
        [rows], bool.
    """
    groups = advantages.view(-1, num_generations)
    return (groups == groups[:, :1]).all(dim=1).repeat_interleave(num_generations)


def forward_order(idle_rows: torch.Tensor, lengths: torch.Tensor, num_generations: int) -> list[int]:
    """All rows: idle ones first, then group by group, the groups with the shortest completions first."""
    longest = lengths.masked_fill(idle_rows, 0).view(-1, num_generations).amax(dim=1).tolist()
    idle = idle_rows.tolist()

    def key(row: int) -> tuple[bool, int, int]:
        return not idle[row], longest[row // num_generations], row // num_generations

    return sorted(range(len(idle)), key=key)


def by_row(inputs: Inputs, num_generations: int) -> Inputs:
    """The batch with the images of each row apart, all rows of a group holding the same copy of them.

    Args:
        inputs: what TRL's trainer made of one batch of completions, group by group.
        num_generations: completions per question.
    """
    split: Inputs = dict(split_pixel_values_by_grid(inputs))
    if "pixel_values" in split:
        firsts = [pixels.clone() for pixels in split["pixel_values"][::num_generations]]  # so that the others can go
        split["pixel_values"] = [pixels for pixels in firsts for _ in range(num_generations)]
    return split


def select_rows(inputs: Inputs, rows: Sequence[int]) -> Inputs:
    """Some rows of a batch whose images stand apart, in that order."""

    def of_rows(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return [value[row] for row in rows]
        return value[torch.tensor(rows, dtype=torch.long, device=value.device)] if value.ndim else value

    return {name: of_rows(value) for name, value in inputs.items()}
