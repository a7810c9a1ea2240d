"""Image features on disk, for repeated training on the same images.

Off unless the environment variable LOWMED_FEATURES names a folder. A file has the features of one image, and its name
is the digest of the image. No name, path, question or patient is stored. But features are derived from patients' images
and can be partly inverted: protect the folder like the images. Only its owner can read it.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lowmed.errors import SetupError

VARIABLE = "LOWMED_FEATURES"


class FeatureStore:
    """Features by digest, in a folder for one vision tower and one kind of machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: bytes) -> torch.Tensor | None:
        """The features of a key, or None if the file is missing or truncated."""
        try:
            return load_file(self._path(key))["features"]
        except (FileNotFoundError, SafetensorError):
            return None

    def put(self, key: bytes, features: torch.Tensor) -> None:
        """Write features atomically. Several processes may write at once.

        Raises:
            SetupError: the disk is full or not writable.
        """
        path = self._path(key)
        temporary = path.with_suffix(f".{os.getpid()}")
        with _setup_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(save({"features": features.contiguous()}))
            temporary.replace(path)

    def _path(self, key: bytes) -> Path:
        name = key.hex()
        return self.folder / name[:2] / f"{name}.safetensors"


def open_feature_store(module: Any, device: torch.device) -> FeatureStore | None:
    """The store for a vision tower with these weights on this kind of machine, or None if the variable is not set.

    Another GPU or another version of torch rounds differently, and a run must not depend on who filled the store.

    Args:
        module: the tower.
        device: where it encodes; its weights may be offloaded.

    Raises:
        SetupError: the folder cannot be created.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    top = Path(folder).expanduser()
    with _setup_errors(top):
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    state = xxhash.xxh3_128(f"{torch.__version__} {machine}".encode())
    for name, weight in module.state_dict().items():
        state.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        state.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return FeatureStore(top / state.hexdigest())


@contextmanager
def _setup_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"cannot store image features: {error.strerror}", str(where), f"use another folder, or unset {VARIABLE}"
        ) from error
