"""`lowmed doctor`: the environment, to paste into a bug report."""

import json
import os
import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from lowmed.cli import options
from lowmed.errors import LowmedError
from lowmed.files import write_text

PACKAGES = (
    "lowmed", "torch", "torchvision", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate",
    "numpy", "triton", "unsloth",
)  # fmt: skip


Report = Annotated[
    Path | None, typer.Option("--report", help="Write it to this new file, without paths, host and user name.")
]


def doctor(report: Report = None, as_json: options.Json = False) -> None:
    """Print versions, GPU, memory and known problems.

    \b
    lowmed doctor
    lowmed doctor --json
    lowmed doctor --report doctor.txt      for a bug report: without paths, host name and user name
    """
    if report and report.exists():
        raise LowmedError("the file exists", str(report), "choose another name, or remove it")
    result = inspect_environment()
    if report:
        result |= {"system": _system(), "disk_free": result["disk_free"].partition(" in ")[0]}
        write_text(report, _lines(result))
        print(f"report     {report}: read it, then attach it to your bug report")
    else:
        print(json.dumps(result, indent=2) if as_json else _lines(result), end="\n" if as_json else "")


def _system() -> str:
    """The system without what a kernel that somebody built may be called after."""
    release = ".".join(re.findall(r"\d+", platform.release())[:2])
    return f"{platform.system()} {release}, {platform.machine()}, {' '.join(platform.libc_ver())}"


def _lines(result: dict[str, Any]) -> str:
    """One line per property."""
    text = ""
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif isinstance(value, list):
            value = "; ".join(value) or "none"
        text += f"{name:<10} {value}\n"
    return text


def inspect_environment() -> dict[str, Any]:
    """Versions, GPU, memory, disk and known problems of this machine."""
    versions = {name: _version(name) for name in PACKAGES}
    card, gpu_problems = _gpu()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": versions,
        "card": card,
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "cores": os.cpu_count(),
        "disk_free": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB in this directory",
        "offline": [name for name in ("LOWMED_OFFLINE", "HF_HUB_OFFLINE") if os.environ.get(name) == "1"],
        "problems": problems(versions) + gpu_problems,
    }


def problems(versions: dict[str, str]) -> list[str]:
    """Missing packages, and combinations of versions that are known not to work.

    Args:
        versions: package -> installed version, or `-`.
    """
    result = [f"{name} is not installed" for name in PACKAGES[1:10] if versions[name] == "-"]
    torch, numpy = versions["torch"], versions["numpy"]
    if torch.startswith("2.13.0"):
        result.append("torch 2.13.0 has no matching torchvision; install torch 2.14.1")
    if torch.endswith("+cpu"):
        result.append("the CPU build of torch does not work with torchvision from PyPI; install torch from PyPI")
    if torch.startswith("2.11") and numpy != "-" and tuple(map(int, numpy.split(".")[:2])) >= (2, 4):
        result.append("torch 2.11 (triton 3.6) needs numpy below 2.4 for the Triton interpreter")
    return result


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def _gpu() -> tuple[str, list[str]]:
    """The GPU in words, and why torch cannot use it."""
    try:
        import torch
    except ImportError:
        return "unknown: torch is not installed", []
    from lowmed.engine import gpu_support
    from lowmed.processes import driver_present

    driver, cuda = gpu_support.driver_version(), torch.version.cuda
    wrong = [problem] if (problem := gpu_support.driver_problem(driver, cuda)) else []
    if not torch.cuda.is_available():
        unusable = f"a driver ({driver or 'of unknown version'}) is installed, but torch (CUDA {cuda}) cannot use it"
        return unusable if driver_present() else "none", wrong
    gpu, capability = torch.cuda.get_device_properties(0), torch.cuda.get_device_capability(0)
    if error := gpu_support.kernels_error(gpu.name, capability, torch.cuda.get_arch_list(), torch.__version__):
        wrong.append(f"{error.what}; {error.fix}")
    bf16 = "bf16" if capability >= (8, 0) else "no bf16"
    parts = (
        gpu.name,
        f"{gpu.total_memory / 2**30:.1f} GiB",
        f"compute capability {capability[0]}.{capability[1]}",
        bf16,
        f"driver {driver or 'of unknown version'}",
        f"CUDA {cuda}",
    )
    return ", ".join(parts), wrong
