"""Checks of every layer's change: lowmed's formula against PEFT's, and a merged folder against both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open

from lowmed.adapter.intake import Adapter
from lowmed.adapter.tensor_file import TensorLocation
from lowmed.ship.adapter import target_tensors, weight_delta
from lowmed.ship.merge import MergedTensor, MergeInputs, merge_tensor, merged_tensors
from lowmed.ship.peft_delta import peft_delta
from lowmed.ship.records import Check
from lowmed.ship.weights import loaded_names

ROUNDING = 1e-5  # largest error in float32, as a share of the layer's largest change
STEP = 4 * 2.0**-24  # rounding of a float32 weight, for DoRA, whose change is a difference of two weights
# A merged layer may differ from the exact sum by this many times its rounding, and by this share of its change (TF32).
TIMES_ROUNDING, SHARE = 1.5, 0.02
FACTOR = 0.3  # and the share of the change that it holds, from that of a correctly rounded merge


def check_against_peft(adapter: Adapter, base: Path, tensors: Mapping[str, TensorLocation]) -> Check:
    """Compare lowmed's change of every layer with PEFT's.

    Args:
        adapter: the adapter.
        base: folder of the base.
        tensors: its tensors.

    Raises:
        RunError: the adapter belongs to another base.
    """
    worst, name, wrong = 0.0, "", []
    for tensor, module in sorted(target_tensors(adapter, tensors).items()):
        weight = _read(base, tensors[tensor].file, tensor).float() if adapter.config.use_dora else None
        expected = peft_delta(adapter, module, weight)
        ours = weight_delta(adapter, module, weight if weight is not None else torch.zeros(()))
        largest = float(expected.abs().max())
        difference = float((ours - expected).abs().max())
        allowed = ROUNDING * largest + (STEP * float(weight.abs().max()) if weight is not None else 0.0)
        error = difference / largest if largest else difference
        if not difference <= allowed:  # also if it is NaN
            wrong.append(module)
        if not error <= worst:
            worst, name = error, module
    detail = f"{len(adapter.layers)} layers, largest error {worst:.1e} of a layer's largest change"
    if wrong:
        detail = f"{len(wrong)} of {len(adapter.layers)} layers differ, first {wrong[0]}; {detail} in {name}"
    return Check("PEFT changes every layer alike", not wrong, detail)


@dataclass(frozen=True)
class LayerDifference:
    """A layer of a merged folder that is not as the merge should be.

    Attributes:
        name: its tensor in the base.
        problem: what is wrong with it.
    """

    name: str
    problem: str


def check_merged_layers(inputs: MergeInputs, folder: Path) -> Check:
    """Compare every tensor of a merged folder with what the adapter asks for, over either reference.

    Raises:
        RunError: its weights are damaged, lack a layer, or are quantized.
    """
    differences = list(merged_differences(inputs, folder))
    reference = inputs.reference
    if differences:
        other = replace(inputs, reference="dequantized" if reference == "original" else "original")
        again = list(merged_differences(other, folder))
        if len(again) < len(differences):
            differences, reference = again, other.reference
    count = len(inputs.targets)
    if not differences:
        return Check("every layer is merged", True, f"{count} layers, over the {reference} base; all others unchanged")
    first = differences[0]
    detail = f"{len(differences)} tensors differ over the {reference} base, first {first.name}: {first.problem}"
    return Check("every layer is merged", False, detail)


def merged_differences(inputs: MergeInputs, folder: Path) -> Iterator[LayerDifference]:
    """The tensors of a merged folder that are not as the merge should be, whichever program merged it.

    Raises:
        RunError: its weights are damaged, lack a layer of the adapter, or are quantized.
    """
    locations, by_loaded_name = merged_tensors(inputs, folder)
    for name, loaded in sorted(loaded_names(inputs.base).items()):
        stored = by_loaded_name.get(loaded)
        if stored is None:
            yield LayerDifference(name, "it is missing")
            continue
        weight = _read(folder, locations[stored].file, stored)
        different = _problem(weight, merge_tensor(inputs, name), name, inputs)
        if different:
            yield LayerDifference(name, different)


def _problem(weight: torch.Tensor, tensor: MergedTensor, name: str, inputs: MergeInputs) -> str | None:
    if weight.shape != tensor.reference.shape:
        return f"its shape is {tuple(weight.shape)}, not {tuple(tensor.reference.shape)}"
    exact = tensor.reference + tensor.delta
    rounded = exact.to(weight.dtype).float()
    stored = weight.float()
    if name not in inputs.targets:
        return None if torch.equal(stored, rounded) else "the adapter does not change it, and the merge does"
    if torch.equal(stored, rounded):
        return None
    squared = float(tensor.delta.square().sum())
    change = float(((stored - tensor.reference) * tensor.delta).sum()) / squared if squared else float("nan")
    expected = float(((rounded - tensor.reference) * tensor.delta).sum()) / squared if squared else 0.0
    error = float((stored - exact).norm())
    allowed = TIMES_ROUNDING * float((rounded - exact).norm()) + SHARE * squared**0.5
    if error <= allowed and abs(change - expected) <= FACTOR:
        return None
    return f"it holds {change:.2f} times the adapter's change, not {expected:.2f}"


def _read(folder: Path, file: str, name: str) -> torch.Tensor:
    with safe_open(folder / file, "pt") as stream:
        tensor: torch.Tensor = stream.get_tensor(name)
    return tensor
