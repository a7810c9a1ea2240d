"""Whether the weights of a model fit the GPU, and the disk that they are downloaded to."""

import shutil
from pathlib import Path

from lowmed import processes
from lowmed.architectures import read_architecture
from lowmed.engine.device import silence_libraries
from lowmed.errors import SetupError
from lowmed.models import Architecture
from lowmed.processes import driver_present
from lowmed.recipe import ModelSpec

GIB = 2**30
BYTES_4BIT = 0.516  # of a weight in NF4 with double quantization, blocks of 64


def require_room(model: ModelSpec, count: int | None = None) -> None:
    """Check that a model's weights fit the GPU of this machine, and its disk if they must be downloaded.

    Without a GPU nothing is checked: the run is for another machine.

    Args:
        model: the model.
        count: number of processes that train; None for that of this command.

    Raises:
        SetupError: they do not fit.
    """
    if not driver_present():
        return
    try:
        sizes = read_architecture(model)
    except SetupError:
        return  # a hub id whose config.json is not known yet
    silence_libraries()
    import torch
    from huggingface_hub import constants

    if not torch.cuda.is_available():
        return
    gpu = torch.cuda.get_device_properties(0)
    cache = Path(constants.HF_HUB_CACHE)
    missing = model.name != "nano" and not Path(model.name).expanduser().is_dir() and not _is_cached(cache, model.name)
    count = processes.size() if count is None else count
    if error := gpu_error(model, sizes, gpu.name, gpu.total_memory, count if model.shard != "none" else 1):
        raise error
    if missing and not constants.HF_HUB_OFFLINE and (error := disk_error(model, sizes, cache)):
        raise error


def gpu_error(model: ModelSpec, sizes: Architecture, card: str, memory: int, shards: int = 1) -> SetupError | None:
    """The error if the weights alone do not fit a GPU, or None.

    Args:
        model: how they are loaded.
        sizes: dimensions of the model.
        card: name of the GPU.
        memory: its bytes.
        shards: processes that divide the decoder layers among them.
    """
    linear = sizes.text_linear * (BYTES_4BIT if model.load_in == "4bit" else 2) / shards
    needed = linear + 2 * (sizes.parameters - sizes.text_linear)
    if needed <= memory:
        return None
    fix = "use a smaller model, a larger GPU, or more GPUs with model.shard=fsdp"
    return SetupError(
        f"the weights take {needed / GIB:.1f} GiB, and {card} has {memory / GIB:.1f} GiB",
        f"model.name: {model.name}, model.load_in: {model.load_in}",
        fix if model.load_in == "4bit" else f"use model.load_in=4bit, or {fix.removeprefix('use ')}",
    )


def disk_error(model: ModelSpec, sizes: Architecture, cache: Path) -> SetupError | None:
    """The error if the weights do not fit the disk of the hub's cache, or None.

    Args:
        model: the model.
        sizes: its dimensions.
        cache: folder of the hub's cache; it may not exist yet.
    """
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    needed, free = 2 * sizes.parameters, shutil.disk_usage(existing).free
    if needed <= free:
        return None
    return SetupError(
        f"the download of {model.name} takes {needed / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free",
        str(cache),
        "free some space, or set HF_HOME to a folder on a larger disk",
    )


def _is_cached(cache: Path, name: str) -> bool:
    """Whether any weights of a model are in the cache."""
    return any(cache.glob(f"models--{name.replace('/', '--')}/snapshots/*/*.safetensors"))
