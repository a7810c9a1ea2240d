"""Image features on disk, for whoever trains on the same images again and again.

Off unless the variable LOWMED_FEATURES names a folder. A file holds the features of one image and is named by the
digest of what they were computed from; no name, path, question or patient stands in it. Still, features are made of
patients' images and can be turned back towards them: the folder deserves the care that the images get, and is made
readable for its owner alone.
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
    """Features by digest, below a folder that stands for the tower and the machine that computed them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: bytes) -> torch.Tensor | None:
        """The features of that key; None where there are none, or a file was cut short."""
        try:
            return load_file(self._path(key))["features"]
        except (FileNotFoundError, SafetensorError):
            return None

    def put(self, key: bytes, features: torch.Tensor) -> None:
        """Write them whole or not at all; several processes may write at once.

        Raises:
            SetupError: the disk is full, or not writable.
        """
        path = self._path(key)
        aside = path.with_suffix(f".{os.getpid()}")
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(save({"features": features.contiguous()}))
            aside.replace(path)

    def _path(self, key: bytes) -> Path:
        name = key.hex()
        return self.folder / name[:2] / f"{name}.safetensors"


def open_feature_store(module: Any, device: torch.device) -> FeatureStore | None:
    """The store of a tower with just these weights on this kind of machine, or None where nobody asked for one.

    Another card or another torch rounds otherwise; a run must not depend on who filled the store.

    Args:
        module: the tower.
        device: where it encodes; its weights may lie elsewhere.

    Raises:
        SetupError: the folder cannot be made.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    top = Path(folder).expanduser()
    with _told(top):
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    result = xxhash.xxh3_128(f"{torch.__version__} {machine}".encode())
    for name, weight in module.state_dict().items():
        result.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        result.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return FeatureStore(top / result.hexdigest())


@contextmanager
def _told(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"image features can not be stored: {error.strerror}", str(where), f"mend it, or unset {VARIABLE}"
        ) from error
