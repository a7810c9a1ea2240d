"""Which rows of a batch can move the model, and in which order they are forwarded."""

import torch

from lowmed.engine import grpo_batch


def test_a_group_is_settled_whatever_rounding_made_of_its_advantages() -> None:
    advantages = torch.tensor([6e-4, 6e-4, 1.0, -1.0, 0.0, 0.0])
    assert grpo_batch.zero_spread(advantages, 2).tolist() == [True, True, False, False, True, True]


def test_rows_are_ordered_by_group_and_length_with_idle_ones_first() -> None:
    idle = torch.tensor([False, False, True, True, False, True])
    result = grpo_batch.forward_order(idle, torch.tensor([9, 2, 5, 5, 3, 30]), 2)
    assert result == [2, 3, 5, 4, 0, 1]
