"""The safetensors files of a model folder: which tensor lies where, and whether all of them are whole."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lowmed.errors import RunError
from lowmed.models import FAMILIES

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
FLOATS = frozenset({"BF16", "F16", "F32"})


@dataclass(frozen=True, slots=True)
class TensorLocation:
    """Where a tensor lies: its file, and its bytes in that file."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


def tensor_locations(folder: Path) -> dict[str, TensorLocation]:
    """Every tensor of a model folder by its name, after a look at the headers of all files.

    Raises:
        RunError: there are no safetensors, a shard is missing, damaged or cut short, or lacks a tensor of the index.
    """
    index = folder / INDEX
    if not index.is_file():
        if not (folder / SINGLE).is_file():
            raise RunError(
                "there are no safetensors weights", str(folder), "name the folder of the 16-bit base with --base"
            )
        return in_file(folder / SINGLE)
    try:
        named: Mapping[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError) as error:
        raise RunError("the shard index can not be read", str(index), "download the model again") from error
    result: dict[str, TensorLocation] = {}
    for file in sorted(set(named.values())):
        if not (folder / file).is_file():
            raise RunError("a shard of the model is missing", str(folder / file), "download the model again")
        result |= in_file(folder / file)
    lost = sorted(named.keys() - result.keys())
    if lost:
        raise RunError(
            f"{len(lost)} tensors of the index are in no shard, first {lost[0]}", str(index), "download the model again"
        )
    return result


def in_file(file: Path) -> dict[str, TensorLocation]:
    """Every tensor of one safetensors file.

    The layout is documented with the format: eight bytes of header length, a JSON header, the data.

    Raises:
        RunError: it is damaged or cut short.
    """
    try:
        with safe_open(file, "np"):
            pass  # holds the header against the size of the file
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"the weights are damaged or cut short: {error}", str(file), "copy or download the file again"
        ) from error
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    header.pop("__metadata__", None)
    first = 8 + length
    return {
        name: TensorLocation(
            file.name, each["dtype"], tuple(each["shape"]), *(first + at for at in each["data_offsets"])
        )
        for name, each in header.items()
    }


def files(result: Mapping[str, TensorLocation]) -> list[str]:
    """The names of the files that the tensors lie in."""
    return sorted({place.file for place in result.values()})


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def canonical(name: str) -> str:
    """The name of a tensor in the loaded model; published checkpoints may still have older names."""
    for family in FAMILIES.values():
        for published, loaded in family.renamed_prefixes.items():
            if name.startswith(published):
                return loaded + name.removeprefix(published)
    return name


def is_language_layer(name: str, place: TensorLocation) -> bool:
    """Whether a tensor is the weight of a linear layer of the language model: those that train in 4 bits."""
    return canonical(name).startswith("model.language_model.layers.") and len(place.shape) == 2
