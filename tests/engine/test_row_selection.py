"""Which rows of a batch have a gradient, and in which order they are forwarded."""

import torch

from lowmed.engine import row_selection


def test_equal_advantages_mean_zero_variance_despite_rounding() -> None:
    advantages = torch.tensor([6e-4, 6e-4, 1.0, -1.0, 0.0, 0.0])
    assert row_selection.zero_variance_rows(advantages, 2).tolist() == [True, True, False, False, True, True]


def test_rows_are_ordered_by_group_and_length_with_skipped_ones_first() -> None:
    skipped = torch.tensor([False, False, True, True, False, True])
    result = row_selection.forward_order(skipped, torch.tensor([9, 2, 5, 5, 3, 30]), 2)
    assert result == [2, 3, 5, 4, 0, 1]
