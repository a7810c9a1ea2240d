"""Peak memory and time of the phases of a run."""

import ctypes
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lowmed.engine import device


class Profiler:
    """Measures phases, which may be nested. An inner phase is not counted in the outer one.

    Attributes:
        device_type: as in `torch.device.type`.
        context_gib: memory that is subtracted from every peak, for example of the libraries.
        timing: whether to measure time. Otherwise memory is measured, which empties the allocator's cache and so costs
            time.
        gib: peak memory of each phase.
        seconds: total time of each phase.
    """

    def __init__(self, device_type: str, context_gib: float = 0.0) -> None:
        self.device_type = device_type
        self.context_gib = context_gib
        self.timing = False
        self.gib: dict[str, float] = defaultdict(float)
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._started = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the block as a phase."""
        self._switch(name)
        try:
            yield
        finally:
            self._switch(None)

    def _switch(self, name: str | None) -> None:
        """Record the current phase, then enter a phase, or return to the outer one if `name` is None."""
        if self._stack:
            self._record(self._stack[-1])
        if name:
            self._stack.append(name)
        else:
            self._stack.pop()
        if not self.timing:
            reset_peak(self.device_type)
        self._started = time.perf_counter()

    def _record(self, name: str) -> None:
        if self.timing:
            synchronize(self.device_type)
            self.seconds[name] += time.perf_counter() - self._started
        else:
            self.gib[name] = max(self.gib[name], device.peak_gib(self.device_type) - self.context_gib)


def reset_peak(device_type: str) -> None:
    """Start a new measurement of peak memory."""
    if device_type == "cuda":
        import torch

        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        ctypes.CDLL(None).malloc_trim(0)  # return freed memory to the system
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # reset the kernel's peak of resident memory


def synchronize(device_type: str) -> None:
    """Wait until the GPU has finished all submitted work."""
    if device_type == "cuda":
        import torch

        torch.cuda.synchronize()
