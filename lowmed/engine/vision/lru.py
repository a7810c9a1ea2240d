"""A cache bounded in bytes."""

from collections import OrderedDict

import torch


class TensorCache:
    """Tensors by key; the ones longest unused go when there are more bytes than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._tensors: OrderedDict[bytes, tuple[torch.Tensor, ...]] = OrderedDict()

    def get(self, key: bytes) -> tuple[torch.Tensor, ...] | None:
        """The tensors of that key, which is then the last one used."""
        if key not in self._tensors:
            return None
        self._tensors.move_to_end(key)
        return self._tensors[key]

    def put(self, key: bytes, *tensors: torch.Tensor) -> None:
        """Keep tensors under a new key; what is larger than the whole room is not kept."""
        size = _bytes(tensors)
        if size > self.most_bytes:
            return
        self._tensors[key] = tensors
        self.bytes += size
        while self.bytes > self.most_bytes:
            self.bytes -= _bytes(self._tensors.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything."""
        self._tensors.clear()
        self.bytes = 0


def _bytes(tensors: tuple[torch.Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
