"""An LRU cache of tensors with a limit in bytes."""

from collections import OrderedDict

import torch


class TensorCache:
    """Tensors by key. If they exceed `max_bytes`, the least recently used ones are removed."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._tensors: OrderedDict[bytes, tuple[torch.Tensor, ...]] = OrderedDict()

    def get(self, key: bytes) -> tuple[torch.Tensor, ...] | None:
        """The tensors of a key, which becomes the most recently used one."""
        if key not in self._tensors:
            return None
        self._tensors.move_to_end(key)
        return self._tensors[key]

    def put(self, key: bytes, *tensors: torch.Tensor) -> None:
        """Store tensors under a new key, unless they alone exceed the limit."""
        size = _bytes(tensors)
        if size > self.max_bytes:
            return
        self._tensors[key] = tensors
        self.bytes += size
        while self.bytes > self.max_bytes:
            self.bytes -= _bytes(self._tensors.popitem(last=False)[1])

    def clear(self) -> None:
        """Remove all tensors."""
        self._tensors.clear()
        self.bytes = 0


def _bytes(tensors: tuple[torch.Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
