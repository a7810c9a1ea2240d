"""A KV cache with fixed addresses: transformers reallocates its own at every token."""

from dataclasses import dataclass

import torch
from transformers import DynamicCache


@dataclass
class KVCache:
    """KV cache of a batch, in tensors that stay where they are.

    Attributes:
        keys: [rows, key heads, capacity, width] of each layer; 0 where nothing was written yet.
        values: as `keys`.
        bias: [rows, 1, 1, capacity], added to the attention scores: 0 for visible tokens, -inf for all others.
        length: written tokens, including padding.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    bias: torch.Tensor
    length: int = 0

    @property
    def rows(self) -> int:
        """Rows that have a place."""
        return len(self.bias)

    @property
    def capacity(self) -> int:
        """Tokens that have a place."""
        return self.bias.shape[3]

    def write_prefill(self, prefill: DynamicCache, mask: torch.Tensor, prompt_of_row: torch.Tensor) -> None:
        """Overwrite the cache with the prompt of each row. Unused rows of the cache see one arbitrary token.

        Args:
            prefill: cache of the distinct prompts.
            mask: [prompts, tokens], False for padding.
            prompt_of_row: index of the prompt of each row.
        """
        length, count = mask.shape[1], len(prompt_of_row)
        for layer, key, value in zip(prefill.layers, self.keys, self.values, strict=True):
            key[:count, :, :length] = layer.keys[prompt_of_row]
            value[:count, :, :length] = layer.values[prompt_of_row]
        self.bias.fill_(-torch.inf)
        self.bias[:count, :, :, :length].masked_fill_(mask[prompt_of_row][:, None, None], 0.0)
        self.bias[count:, :, :, 0] = 0.0  # a softmax over no token would be NaN
        self.length = length

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Move some rows to the front, in this order. What the others held stays after them."""
        for tensor in (*self.keys, *self.values):  # one after the other, so that the cache never exists twice
            tensor[: len(rows), :, : self.length] = tensor[rows, :, : self.length]
        self.bias[: len(rows)] = self.bias[rows]

    def add_token(self) -> int:
        """Make the next token visible in all rows. Returns its position."""
        self.bias[:, :, :, self.length] = 0.0
        self.length += 1
        return self.length - 1


def allocate(prefill: DynamicCache, rows: int, capacity: int) -> KVCache:
    """An empty cache for `rows` rows of `capacity` tokens, with the dtype and device of another cache."""

    def like(written: torch.Tensor) -> torch.Tensor:
        return written.new_zeros((rows, written.shape[1], capacity, written.shape[3]))

    keys = [like(layer.keys) for layer in prefill.layers]
    return KVCache(keys, [like(layer.values) for layer in prefill.layers], keys[0].new_empty((rows, 1, 1, capacity)))
