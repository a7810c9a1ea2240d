"""`lowmed doctor`: what this machine has, ready to paste into a report."""

import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lowmed.cli import options

PACKAGES = (
    "lowmed", "torch", "torchvision", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate",
    "numpy", "triton", "unsloth",
)  # fmt: skip


def doctor(as_json: options.Json = False) -> None:
    """Versions, card, memory, disk, offline state, and pairs of versions known not to work.

    \b
    lowmed doctor
    lowmed doctor --json
    """
    result = look()
    if as_json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif isinstance(value, list):
            value = "; ".join(value) or "none"
        print(f"{name:<10} {value}")


def look() -> dict[str, Any]:
    """What there is, by name."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": versions,
        "card": _card(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "cores": os.cpu_count(),
        "disk_free": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB here",
        "offline": [name for name in ("LOWMED_OFFLINE", "HF_HUB_OFFLINE") if os.environ.get(name) == "1"],
        "problems": problems(versions),
    }


def problems(versions: dict[str, str]) -> list[str]:
    """Pairs of versions known not to work together."""
    result = [f"{name} is not installed" for name in PACKAGES[1:10] if versions[name] == "-"]
    torch, numpy = versions["torch"], versions["numpy"]
    if torch.startswith("2.13.0"):
        result.append("torch 2.13.0 comes without a matching torchvision; install 2.14.1")
    if torch.endswith("+cpu"):
        result.append("the CPU build of torch does not fit the ordinary torchvision; install the ordinary build")
    if torch.startswith("2.11") and numpy != "-" and tuple(map(int, numpy.split(".")[:2])) >= (2, 4):
        result.append("torch 2.11 (triton 3.6) needs numpy below 2.4 where Triton is interpreted")
    return result


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def _card() -> str:
    try:
        import torch
    except ImportError:
        return "unknown, torch is not installed"
    from lowmed.engine.device import driver_present

    if not torch.cuda.is_available():
        return (
            "none"
            if not driver_present()
            else f"a driver is there, but torch (CUDA {torch.version.cuda}) can not use it"
        )
    card = torch.cuda.get_device_properties(0)
    bf16 = "bf16" if torch.cuda.get_device_capability(0) >= (8, 0) else "no bf16"
    return f"{card.name}, {card.total_memory / 2**30:.1f} GiB, {bf16}, CUDA {torch.version.cuda}"
