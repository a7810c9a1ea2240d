"""Add a LoRA adapter to the weights of its base. One tensor is in memory at a time; a killed merge can resume."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors import safe_open

from lowmed.adapter.intake import Adapter
from lowmed.adapter.tensor_file import TensorLocation
from lowmed.errors import RunError
from lowmed.files import disk_errors, read_json, write_json
from lowmed.progress import Advance
from lowmed.ship.adapter import weight_delta
from lowmed.ship.records import Reference
from lowmed.ship.weights import (
    FLOATS,
    INDEX,
    file_digest,
    is_language_linear,
    loaded_names,
    shard_files,
    tensor_locations,
)

PROGRESS = "merge.json"


@dataclass(frozen=True)
class MergeInputs:
    """Inputs of a merge: the base, the adapter, and the reference weights.

    `original` is the 16-bit base. `dequantized` is the base after NF4 quantization of its language layers, on which a
    4-bit run trains its adapter.

    Attributes:
        folder: folder of the base.
        base: tensor -> location.
        adapter: the adapter.
        targets: tensor -> module of the adapter that changes it.
        reference: `original` or `dequantized`.
    """

    folder: Path
    base: Mapping[str, TensorLocation]
    adapter: Adapter
    targets: Mapping[str, str]
    reference: Reference

    @property
    def changed(self) -> set[str]:
        """The tensors that differ from the base after the merge."""
        if self.reference == "original":
            return set(self.targets)
        return set(self.targets) | {name for name, location in self.base.items() if is_language_linear(name, location)}

    @property
    def digest(self) -> str:
        """Digest of all inputs. A killed merge resumes only if it is unchanged."""
        inputs: list[Any] = [self.reference, file_digest(self.adapter.file), file_digest(self.adapter.config.file)]
        inputs += [(name, location.file, location.shape) for name, location in sorted(self.base.items())]
        times = [(file, (self.folder / file).stat().st_mtime_ns) for file in shard_files(self.base)]
        return hashlib.sha256(json.dumps([inputs, times]).encode()).hexdigest()


class MergedTensor(NamedTuple):
    """A merged tensor in its own dtype; the reference values and the adapter's change, both float32."""

    merged: torch.Tensor
    reference: torch.Tensor
    delta: torch.Tensor


@dataclass
class Projection:
    """The projection of the stored change of weights on the adapter's change."""

    along: float = 0.0
    norm: float = 0.0

    def add(self, weight: torch.Tensor, tensor: MergedTensor) -> None:
        """Include the stored values of one tensor."""
        self.along += float(((weight - tensor.reference) * tensor.delta).sum())
        self.norm += float(tensor.delta.square().sum())

    @property
    def retained(self) -> float:
        """The share of the adapter that the weights retain: 1 if rounding lost nothing."""
        return self.along / self.norm if self.norm else 0.0


def merge_tensor(inputs: MergeInputs, name: str) -> MergedTensor:
    """One tensor of the base with the adapter added."""
    with safe_open(inputs.folder / inputs.base[name].file, "pt") as stream:
        weight = stream.get_tensor(name)
    reference = weight.float()
    if inputs.reference == "dequantized" and is_language_linear(name, inputs.base[name]):
        reference = round_to_nf4(reference)
    module = inputs.targets.get(name)
    delta = weight_delta(inputs.adapter, module, reference) if module else torch.zeros(())
    return MergedTensor((reference + delta).to(weight.dtype), reference, delta)


def round_to_nf4(weight: torch.Tensor) -> torch.Tensor:
    """A float32 weight quantized to NF4 and back, in blocks of 64 with double quantization, as training loads it."""
    packed, state = quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
    restored: torch.Tensor = dequantize_4bit(packed, state)
    return restored.float()


def dequantize(weight: torch.nn.Parameter) -> torch.Tensor:
    """The float32 values of a parameter that bitsandbytes may hold in 4 bits."""
    state = getattr(weight, "quant_state", None)
    return weight.detach().float() if state is None else dequantize_4bit(weight.data, state).float()


def write_shards(inputs: MergeInputs, out: Path, advance: Advance) -> float:
    """Write the merged shards and their index. Shards that an earlier call finished are kept.

    A shard is a copy of the base's, with new bytes for the changed tensors. Names, shapes and dtypes stay.

    Args:
        inputs: base, adapter and reference.
        out: the folder; created if absent.
        advance: called with the number of finished shards and the name of the last one.

    Returns:
        The share of the adapter that is retained after rounding to the dtype of the weights.
    """
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    finished = _finished_shards(inputs, out)
    for number, file in enumerate(shard_files(inputs.base), 1):
        if file not in finished:
            projection = _write_shard(inputs, file, out)
            finished[file] = {
                "sha256": file_digest(out / file),
                "projection": [projection.along, projection.norm],
            }
            write_json(out / PROGRESS, {"inputs": inputs.digest, "shards": finished})
        advance(number, file)
    index = inputs.folder / INDEX
    if index.is_file():
        with disk_errors(out):
            shutil.copyfile(index, out / INDEX)
    along, norm = (sum(shard["projection"][part] for shard in finished.values()) for part in (0, 1))
    return Projection(along, norm).retained


def retained_share(inputs: MergeInputs, weights: Iterable[tuple[str, torch.Tensor]]) -> float:
    """The share of the adapter that other weights of the same layers retain, as `write_shards` returns it.

    Args:
        inputs: the merge that the weights should be the result of.
        weights: name and float32 values of each changed tensor.
    """
    projection = Projection()
    for name, weight in weights:
        projection.add(weight.cpu(), merge_tensor(inputs, name))
    return projection.retained


def merged_tensors(inputs: MergeInputs, folder: Path) -> tuple[Mapping[str, TensorLocation], dict[str, str]]:
    """The tensors of a merged 16-bit folder, and their names by the name that each has in the loaded model.

    Raises:
        RunError: its weights are damaged, lack a layer of the adapter, or are quantized.
    """
    locations = tensor_locations(folder)
    by_loaded_name = {loaded: name for name, loaded in loaded_names(locations).items()}
    loaded_as = loaded_names(inputs.base)
    missing = [name for name in inputs.targets if loaded_as[name] not in by_loaded_name]
    if missing or any(location.dtype not in FLOATS for location in locations.values()):
        problem = f"lacks {len(missing)} layers of the adapter, first {missing[0]}" if missing else "is quantized"
        raise RunError(f"the merged model {problem}", str(folder), "name a merged 16-bit folder of the same base")
    return locations, by_loaded_name


def retained_in_folder(inputs: MergeInputs, folder: Path) -> float:
    """The share of the adapter that a merged 16-bit folder retains, whichever program merged it.

    Raises:
        RunError: its weights are damaged, lack a layer, or are quantized.
    """
    locations, by_loaded_name = merged_tensors(inputs, folder)
    loaded_as = loaded_names(inputs.base)

    def weights() -> Iterator[tuple[str, torch.Tensor]]:
        for name in inputs.targets:
            stored_name = by_loaded_name[loaded_as[name]]
            with safe_open(folder / locations[stored_name].file, "pt") as stream:
                yield name, stream.get_tensor(stored_name).float()

    return retained_share(inputs, weights())


def _finished_shards(inputs: MergeInputs, out: Path) -> dict[str, Any]:
    """The shards that an earlier merge of the same inputs finished and that have not changed since."""
    if not (out / PROGRESS).is_file():
        return {}
    progress = read_json(out / PROGRESS)
    if progress.get("inputs") != inputs.digest:
        return {}
    shards: dict[str, Any] = progress["shards"]
    return {
        file: shard
        for file, shard in shards.items()
        if (out / file).is_file() and file_digest(out / file) == shard["sha256"]
    }


def _write_shard(inputs: MergeInputs, file: str, out: Path) -> Projection:
    projection = Projection()
    with disk_errors(out):
        shutil.copyfile(inputs.folder / file, out / file)
        with (out / file).open("r+b") as stream:
            for name in sorted(inputs.changed):
                if inputs.base[name].file != file:
                    continue
                tensor = merge_tensor(inputs, name)
                stream.seek(inputs.base[name].start)
                stream.write(tensor.merged.contiguous().view(torch.uint8).numpy().data)
                if name in inputs.targets:
                    projection.add(tensor.merged.float(), tensor)
                del tensor  # so that it is gone when the next one is read
    return projection
