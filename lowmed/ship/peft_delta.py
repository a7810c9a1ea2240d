"""PEFT's own change of a layer's weight: the check of lowmed's. One layer is in memory at a time.

PEFT builds the layer under the name that it had at training, from the adapter's own config, so that ranks, scales and
formula are PEFT's. Only the selection of layers is left out: it can hold expressions that take years.
"""

import warnings
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from torch import nn
from torch.nn.utils import skip_init

from lowmed.adapter.config import read_object
from lowmed.adapter.intake import Adapter, Layer
from lowmed.ship.adapter import factors

_FIELDS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora")
_CONVOLUTIONS: dict[int, Any] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_ADAPTER = "default"


def peft_delta(adapter: Adapter, module: str, reference: torch.Tensor | None) -> torch.Tensor:
    """The change of a layer's weight as PEFT computes it, float32.

    Args:
        adapter: the adapter.
        module: the layer.
        reference: its weight in the base, float32; only DoRA needs it.
    """
    layer = adapter.layers[module]
    stored = read_object(adapter.folder)
    fields = {name: stored[name] for name in _FIELDS if stored.get(name) is not None}
    config = LoraConfig(target_modules=[layer.trained], init_lora_weights=True, **fields)
    root = _tree(layer, reference)
    with warnings.catch_warnings(action="ignore"):  # the patterns of the other layers match nothing here
        inject_adapter_in_model(config, root, adapter_name=_ADAPTER)
    state = {
        f"{layer.trained}.{part}{'' if part == 'lora_magnitude_vector' else '.weight'}": value
        for part, value in factors(adapter, module).items()
    }
    result = set_peft_model_state_dict(root, state, adapter_name=_ADAPTER)
    adapted: Any = root.get_submodule(layer.trained)
    if result.unexpected_keys:
        raise KeyError(f"PEFT does not know {result.unexpected_keys[0]}")
    with torch.no_grad():
        if not adapter.config.use_dora or reference is None:
            delta: torch.Tensor = adapted.get_delta_weight(_ADAPTER)
            return delta.detach()
        adapted.merge(adapter_names=[_ADAPTER])
        merged: torch.Tensor = adapted.get_base_layer().weight.detach()
        return merged - reference


def _tree(layer: Layer, reference: torch.Tensor | None) -> nn.Module:
    """A model of one layer, under the name that it had at training."""
    outputs, inputs, *kernel = layer.shape
    kind: Any = _CONVOLUTIONS[len(layer.shape)] if kernel else nn.Linear
    arguments = [tuple(kernel)] if kernel else []
    build: Any = skip_init
    leaf = build(kind, inputs, outputs, *arguments, bias=False)
    if reference is not None:
        leaf.weight = nn.Parameter(reference.clone(), requires_grad=False)
    *parents, name = layer.trained.split(".")
    root = node = nn.Module()
    for parent in parents:
        child = nn.Module()
        node.add_module(parent, child)
        node = child
    node.add_module(name, leaf)
    return root
