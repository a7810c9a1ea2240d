"""Whether a merge fits this machine, told before it starts."""

import hashlib
import re
import resource
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from lowmed.errors import SetupError
from lowmed.ship.weights import TensorLocation

MIB = 2**20
# torch and its libraries as they lie in memory; a test holds the whole estimate against the real peak.
LIBRARIES_BYTES = 1024 * MIB
COPIES_OF_A_TENSOR = 16  # float32 (twice the bytes) of weight, change, sum and what is compared
PROBE_BYTES = 16 * MIB
BESIDE_WEIGHTS_BYTES = 32 * MIB  # tokenizer, card, reports


@dataclass(frozen=True, slots=True)
class Need:
    """What a merge takes: host memory and disk in bytes, time in seconds."""

    ram: int
    disk: int
    seconds: float

    def __str__(self) -> str:
        took = f"{self.seconds:.0f} s" if self.seconds >= 1 else "under a second"
        return f"host memory {self.ram / 2**30:.1f} GiB, disk {self.disk / 2**30:.2f} GiB, about {took} on this disk"


def need(base: Mapping[str, TensorLocation], changed: Collection[str], out: Path, *, four_bit: bool) -> Need:
    """What merging into this base takes.

    Args:
        base: all tensors.
        changed: those that are computed anew.
        out: where it will lie; the speed of its disk is measured with a small file.
        four_bit: also keep a 4-bit copy, which is made of the whole model in memory.
    """
    total = sum(place.size for place in base.values())
    largest = max((base[name].size for name in changed), default=0)
    ram = LIBRARIES_BYTES + (2 * total if four_bit else COPIES_OF_A_TENSOR * largest)
    handled = total + 2 * sum(base[name].size for name in changed)  # copied; the changed ones read and written again
    return Need(ram, total * (2 if four_bit else 1) + BESIDE_WEIGHTS_BYTES, handled / _bytes_per_second(out))


def free_ram() -> int:
    """Bytes of memory that this process may still take, by the machine, its control group and its own limit."""
    limits = [int(re.findall(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())[0]) * 1024]
    group, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if group.is_file() and used.is_file() and group.read_text().strip() != "max":
        limits.append(int(group.read_text()) - int(used.read_text()))
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)


def check(needed: Need, out: Path, *, ram: int, disk: int) -> None:
    """Refuse what does not fit.

    Raises:
        SetupError: memory or disk are not enough.
    """
    for what, wanted, there, fix in (
        ("disk", needed.disk, disk, "free some, or choose an --out on another disk"),
        ("host memory", needed.ram, ram, "close other programs, or merge on a machine with more"),
    ):
        if wanted > there:
            told = f"not enough {what}: {wanted / 2**30:.2f} GiB needed, {there / 2**30:.2f} GiB free"
            raise SetupError(told, str(out), fix)


def free_disk(out: Path) -> int:
    """Bytes free where a folder will lie."""
    return shutil.disk_usage(_existing(out)).free


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _bytes_per_second(out: Path) -> float:
    """How fast bytes are copied and their digest taken there; a full or closed disk is told by whoever writes to it."""
    probe = _existing(out) / f".{out.name}.probe"
    content = bytes(PROBE_BYTES)
    began = time.perf_counter()
    try:
        probe.write_bytes(content)
        hashlib.sha256(probe.read_bytes()).hexdigest()
    except OSError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)
    return PROBE_BYTES / (time.perf_counter() - began)
