"""Whether torch can use a GPU: the kernels that it was built with, and the driver. Nothing here imports torch."""

import re
from collections.abc import Sequence
from pathlib import Path

from lowmed.errors import SetupError

DRIVER = Path("/proc/driver/nvidia/version")
# CUDA's release notes, table of minor version compatibility: major version of CUDA -> the oldest branch of the driver.
OLDEST_DRIVER = {"12": 525, "13": 580}
# PyTorch announced 2.14 as the last version with this build: https://github.com/pytorch/pytorch/issues/190385
OTHER_BUILD = (
    "install the CUDA 12.6 build of torch 2.14 or earlier, which supports older GPUs and drivers (docs/platforms.md)"
)


def kernels_error(
    card: str, capability: tuple[int, int], built_for: Sequence[str], torch_version: str
) -> SetupError | None:
    """The error if torch has no kernels for a GPU, or None.

    Kernels run on GPUs of their own major version and of the same or a later minor version. `compute_` code is compiled
    for any later GPU.

    Args:
        card: name of the GPU.
        capability: its compute capability.
        built_for: `torch.cuda.get_arch_list()`.
        torch_version: for the error.
    """
    for name in built_for:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name)
        if match is None:
            return None  # a kind of GPU that this function does not know
        kind, built = match[1], (int(match[2]), int(match[3]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return None
    return SetupError(
        f"torch {torch_version} has no kernels for {card} (compute capability {capability[0]}.{capability[1]})",
        f"torch is built for {', '.join(built_for)}",
        OTHER_BUILD,
    )


def driver_version() -> str | None:
    """The version of the NVIDIA driver, such as `535.104.05`, or None if there is none or its file says nothing."""
    try:
        match = re.search(r"\b(\d{3,4}\.\d+(?:\.\d+)?)\b", DRIVER.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return match[1] if match else None


def driver_problem(driver: str | None, cuda: str | None) -> str | None:
    """What is wrong if a driver is too old for the CUDA version of torch, or None.

    Args:
        driver: the version of the driver.
        cuda: `torch.version.cuda`.
    """
    oldest = OLDEST_DRIVER.get((cuda or "").partition(".")[0])
    if driver is None or oldest is None or int(driver.partition(".")[0]) >= oldest:
        return None
    return f"driver {driver} is too old for CUDA {cuda}, which needs {oldest} or newer; update it, or {OTHER_BUILD}"
