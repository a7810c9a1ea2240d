"""Estimate the memory, disk and time of a merge, and refuse one that does not fit."""

import hashlib
import re
import resource
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from lowmed.adapter.tensor_file import TensorLocation
from lowmed.errors import SetupError
from lowmed.ship.records import Requirements

MIB = 2**20
# Resident size of torch and its libraries. A slow test compares the whole estimate with a measured peak.
LIBRARIES_BYTES = 1024 * MIB
COPIES_OF_A_TENSOR = 16  # in bytes of the 16-bit tensor: float32 weight, delta, sum, and the projection's temporaries
PROBE_BYTES = 16 * MIB
OTHER_FILES_BYTES = 32 * MIB  # tokenizer, model card, reports


def estimate(
    base: Mapping[str, TensorLocation], changed: Collection[str], out: Path, *, four_bit: bool
) -> Requirements:
    """Memory, disk and time that the merge needs.

    Args:
        base: all tensors.
        changed: names of the tensors that are computed.
        out: the folder to create; a small file measures the speed of its disk.
        four_bit: also write a 4-bit copy, for which the whole model is loaded.
    """
    total = sum(location.size for location in base.values())
    largest = max((base[name].size for name in changed), default=0)
    ram = LIBRARIES_BYTES + (2 * total if four_bit else COPIES_OF_A_TENSOR * largest)
    # Every byte is copied; those of changed tensors are read and written once more.
    processed = total + 2 * sum(base[name].size for name in changed)
    disk = total * (2 if four_bit else 1) + OTHER_FILES_BYTES
    return Requirements(ram, disk, processed / _bytes_per_second(out))


def free_ram() -> int:
    """Bytes of memory that this process may still allocate: limited by the machine, its cgroup and its rlimit."""
    limits = [int(re.findall(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())[0]) * 1024]
    group, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if group.is_file() and used.is_file() and group.read_text().strip() != "max":
        limits.append(int(group.read_text()) - int(used.read_text()))
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)


def free_disk(out: Path) -> int:
    """Bytes free on the disk of a folder that may not exist yet."""
    return shutil.disk_usage(_existing(out)).free


def require_space(needed: Requirements, out: Path, *, ram: int, disk: int) -> None:
    """Refuse a merge that does not fit.

    Args:
        needed: the estimate.
        out: the folder to create.
        ram: free bytes of memory.
        disk: free bytes of disk.

    Raises:
        SetupError: memory or disk are insufficient.
    """
    for resource_name, wanted, free, fix in (
        ("disk", needed.disk_bytes, disk, "free some, or choose an --out on another disk"),
        ("host memory", needed.ram_bytes, ram, "close other programs, or merge on a machine with more"),
    ):
        if wanted > free:
            raise SetupError(
                f"not enough {resource_name}: {wanted / 2**30:.2f} GiB needed, {free / 2**30:.2f} GiB free",
                str(out),
                fix,
            )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _bytes_per_second(out: Path) -> float:
    """Speed of copying and hashing on the disk of `out`; infinite if it cannot be written, which the merge reports."""
    probe = _existing(out) / f".{out.name}.probe"
    content = bytes(PROBE_BYTES)
    start = time.perf_counter()
    try:
        probe.write_bytes(content)
        hashlib.sha256(probe.read_bytes()).hexdigest()
    except OSError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)
    return PROBE_BYTES / (time.perf_counter() - start)
