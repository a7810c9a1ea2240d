"""LoRA into the weights of its base, one tensor in memory at a time, so that a killed merge goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors import safe_open

from lowmed.errors import RunError
from lowmed.files import disk_errors, read_json, write_json
from lowmed.ship import adapter as adapters
from lowmed.ship import weights
from lowmed.ship.adapter import Adapter
from lowmed.ship.weights import TensorLocation

Reference = Literal["original", "dequantised"]
PROGRESS = "merge.json"


@dataclass(frozen=True)
class MergeWork:
    """A merge: the base, the adapter, and what its change is added to.

    `original` is the 16-bit base; `dequantised` is what the adapter was trained on when that was in 4 bits: the
    language layers as NF4 gives them back.
    """

    folder: Path
    base: Mapping[str, TensorLocation]
    adapter: Adapter
    targets: Mapping[str, str]
    reference: Reference

    @property
    def changed(self) -> set[str]:
        """The tensors that are not copied as they are."""
        if self.reference == "original":
            return set(self.targets)
        return set(self.targets) | {name for name, place in self.base.items() if weights.is_language_layer(name, place)}

    @property
    def digest(self) -> str:
        """What a half-done merge must agree in to be gone on with."""
        told = [self.reference, weights.digest(self.adapter.folder / adapters.FILE), self.adapter.scaling]
        told += [(name, place.file, place.shape) for name, place in sorted(self.base.items())]
        sizes = [(file, (self.folder / file).stat().st_mtime_ns) for file in weights.files(self.base)]
        return hashlib.sha256(json.dumps([told, sizes]).encode()).hexdigest()


def merged(work: MergeWork, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A tensor with the adapter in it, in its own type; beside it what the adapter was added to, and what was added."""
    with safe_open(work.folder / work.base[name].file, "pt") as opened:
        weight = opened.get_tensor(name)
    exact = weight.float()
    if work.reference == "dequantised" and weights.is_language_layer(name, work.base[name]):
        exact = dequantised(exact)
    module = work.targets.get(name)
    added = adapters.delta(work.adapter, module) if module else torch.zeros(())
    return (exact + added).to(weight.dtype), exact, added


def dequantised(weight: torch.Tensor) -> torch.Tensor:
    """What is left of a float32 weight after NF4 in blocks of 64 with double quantisation, as training loads it."""
    packed, state = quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
    restored: torch.Tensor = dequantize_4bit(packed, state)
    return restored.float()


def unpacked(weight: torch.nn.Parameter) -> torch.Tensor:
    """The float32 values of a weight that bitsandbytes holds in 4 bits, or of a plain one."""
    state = getattr(weight, "quant_state", None)
    return weight.detach().float() if state is None else dequantize_4bit(weight.data, state).float()


def write(work: MergeWork, out: Path, advance: Callable[[int, str], None]) -> float:
    """Write the merged shards and their index into a folder that may hold some of them from before.

    A shard is a copy of the base's, with new bytes in the place of the changed tensors: names, shapes and types stay.

    Args:
        work: what is merged.
        out: the folder; made when absent.
        advance: told how many shards are done, and the last one's name.

    Returns:
        The share of the adapter that is left after rounding to the type of the weights: the projection of what has
        changed on what the adapter adds, 1 when nothing was lost.
    """
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    done = _done(work, out)
    files = weights.files(work.base)
    for number, file in enumerate(files, 1):
        if file not in done:
            kept = _shard(work, file, out)
            done[file] = {"sha256": weights.digest(out / file), "kept": kept}
            write_json(out / PROGRESS, {"of": work.digest, "shards": done})
        advance(number, file)
    index = work.folder / weights.INDEX
    if index.is_file():
        with disk_errors(out):
            shutil.copyfile(index, out / weights.INDEX)
    along, whole = (sum(shard["kept"][side] for shard in done.values()) for side in (0, 1))
    return along / whole if whole else 0.0


def left(work: MergeWork, weights_now: Iterable[tuple[str, torch.Tensor]]) -> float:
    """The share of the adapter that other weights of the same layers, given by name, hold; as `write` returns it."""
    along = whole = 0.0
    for name, weight in weights_now:
        _, exact, added = merged(work, name)
        along += float(((weight.cpu() - exact) * added).sum())
        whole += float(added.square().sum())
    return along / whole if whole else 0.0


def held(work: MergeWork, folder: Path) -> float:
    """The share of the adapter that the weights of a merged 16-bit folder hold, whoever has made it.

    Raises:
        RunError: its weights are damaged, lack a layer, or are quantised.
    """
    result = weights.tensor_locations(folder)
    by_name = {weights.canonical(name): name for name in result}
    lost = [name for name in work.targets if weights.canonical(name) not in by_name]
    if lost or any(place.dtype not in weights.FLOATS for place in result.values()):
        why = f"lacks {len(lost)} layers of the adapter, first {lost[0]}" if lost else "is quantised"
        raise RunError(f"the merged model {why}", str(folder), "name a merged 16-bit folder of the same base")

    def each() -> Iterable[tuple[str, torch.Tensor]]:
        for name in work.targets:
            there = by_name[weights.canonical(name)]
            with safe_open(folder / result[there].file, "pt") as opened:
                yield name, opened.get_tensor(there).float()

    return left(work, each())


def _done(work: MergeWork, out: Path) -> dict[str, Any]:
    """The shards that an earlier merge of the same has finished and that are as it left them."""
    if not (out / PROGRESS).is_file():
        return {}
    before = read_json(out / PROGRESS)
    if before["of"] != work.digest:
        return {}
    shards: dict[str, Any] = before["shards"]
    return {
        file: shard
        for file, shard in shards.items()
        if (out / file).is_file() and weights.digest(out / file) == shard["sha256"]
    }


def _shard(work: MergeWork, file: str, out: Path) -> tuple[float, float]:
    along = whole = 0.0
    with disk_errors(out):
        shutil.copyfile(work.folder / file, out / file)
        with (out / file).open("r+b") as opened:
            for name in sorted(work.changed):
                if work.base[name].file != file:
                    continue
                tensor, exact, added = merged(work, name)
                opened.seek(work.base[name].start)
                opened.write(tensor.contiguous().view(torch.uint8).numpy().tobytes())
                if name in work.targets:
                    along += float(((tensor.float() - exact) * added).sum())
                    whole += float(added.square().sum())
    return along, whole
