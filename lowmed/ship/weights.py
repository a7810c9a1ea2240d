"""The safetensors files of a model folder: the location of every tensor, and checks that no file is incomplete."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lowmed.adapter.tensor_file import TensorLocation, file_tensors
from lowmed.errors import RunError
from lowmed.files import load_json
from lowmed.models import FAMILIES, ModelFamily

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
NAME_LENGTH = 255  # the longest name that file systems take
FLOATS = frozenset({"BF16", "F16", "F32"})


def tensor_locations(folder: Path) -> dict[str, TensorLocation]:
    """Every tensor of a model folder by name. Reads the headers of all files, not the data.

    Raises:
        RunError: there are no safetensors; a shard is missing, damaged or truncated, or lacks a tensor of the index.
    """
    index = folder / INDEX
    if not index.is_file():
        if not (folder / SINGLE).is_file():
            raise RunError("there are no safetensors weights", str(folder), "name a folder with 16-bit weights")
        return file_tensors(folder / SINGLE)
    try:
        weight_map: Mapping[str, Any] = dict(load_json(index)["weight_map"])
        if not all(isinstance(file, str) and Path(file).name == file for file in weight_map.values()):
            raise ValueError("a shard has no plain file name")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError("the shard index cannot be read", str(index), "download the model again") from error
    locations: dict[str, TensorLocation] = {}
    for file in sorted(set(weight_map.values())):
        if len(file) > NAME_LENGTH or not (folder / file).is_file():
            raise RunError("a shard of the model is missing", str(folder / file)[:300], "download the model again")
        locations |= file_tensors(folder / file)
    missing = sorted(weight_map.keys() - locations.keys())
    if missing:
        raise RunError(
            f"{len(missing)} tensors of the index are in no shard, first {missing[0]}",
            str(index),
            "download the model again",
        )
    return locations


def shard_files(tensors: Mapping[str, TensorLocation]) -> list[str]:
    """The names of the files that hold the tensors, sorted."""
    return sorted({location.file for location in tensors.values()})


def file_digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def loaded_names(names: Iterable[str]) -> dict[str, str]:
    """Tensor of a checkpoint -> its name in the loaded model.

    Published checkpoints of vision-language models may still use older names, which are those of text-only models.
    """
    names = list(names)
    if not any(family.in_vision_tower(name) for name in names for family in FAMILIES.values()):
        return {name: name for name in names}
    return {name: _loaded_name(name) for name in names}


def _loaded_name(name: str) -> str:
    for family in FAMILIES.values():
        for published, loaded in family.renamed_prefixes.items():
            if name.startswith(published):
                return loaded + name.removeprefix(published)
    return name


def published_name(name: str, family: ModelFamily) -> str:
    """The name of a tensor in a published checkpoint of the family: the inverse of `loaded_names`."""
    for published, loaded in family.renamed_prefixes.items():
        if name.startswith(loaded):
            return published + name.removeprefix(loaded)
    return name


def is_language_linear(name: str, location: TensorLocation) -> bool:
    """Whether a tensor is the weight of a linear layer of the language model: those are in 4 bits during training.

    Args:
        name: its name in a checkpoint, published or saved from the loaded model.
        location: its shape.
    """
    layers = tuple(f"{family.language_model}.layers." for family in FAMILIES.values())
    return _loaded_name(name).startswith(layers) and len(location.shape) == 2
