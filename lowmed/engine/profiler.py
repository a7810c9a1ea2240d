"""Peak memory and time of the phases of a run."""

import ctypes
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lowmed.engine import device


class Profiler:
    """Peak memory and time of phases that may lie inside one another; what is inside does not count outside."""

    def __init__(self, device: str, context_gib: float = 0.0) -> None:
        self.device = device
        self.context_gib = context_gib
        self.timing = False  # else memory: emptying the allocator's cache costs time
        self.gib: dict[str, float] = defaultdict(float)
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what runs inside."""
        self._turn(name)
        try:
            yield
        finally:
            self._turn(None)

    def _turn(self, name: str | None) -> None:
        """End the phase in hand, and begin another or go on with the one around it."""
        if self._open:
            self._note(self._open[-1])
        if name:
            self._open.append(name)
        else:
            self._open.pop()
        if not self.timing:
            begin_peak(self.device)
        self._since = time.perf_counter()

    def _note(self, name: str) -> None:
        if self.timing:
            synchronise(self.device)
            self.seconds[name] += time.perf_counter() - self._since
        else:
            self.gib[name] = max(self.gib[name], device.peak_gib(self.device) - self.context_gib)


def begin_peak(device: str) -> None:
    """Begin a new peak."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier phases have freed goes back to the system
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the kernel's mark of the resident peak


def synchronise(device: str) -> None:
    """Wait until the card has done all that it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
