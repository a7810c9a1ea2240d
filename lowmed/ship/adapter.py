"""A LoRA adapter on disk: the layers of the base that it changes, and the change of each weight."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from lowmed.engine.adapter import adapter_folder
from lowmed.errors import RunError
from lowmed.models import FAMILIES
from lowmed.ship.weights import TensorLocation, file_tensors, loaded_name

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# PEFT options that do more than add scale * B A to W. Merging such an adapter by that formula would be silently wrong.
UNMERGEABLE = (
    "use_dora", "use_qalora", "use_bdlora", "alpha_pattern", "fan_in_fan_out", "lora_bias", "modules_to_save",
    "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "layer_replication",
)  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """A plain LoRA adapter.

    Attributes:
        folder: where it is stored.
        config: the content of adapter_config.json.
        factors: module -> locations of A and B.
        unknown_keys: keys of the weights file that are not a pair of LoRA factors.
    """

    folder: Path
    config: Mapping[str, Any]
    factors: Mapping[str, tuple[TensorLocation, TensorLocation]]
    unknown_keys: tuple[str, ...]

    @property
    def scaling(self) -> float:
        """The factor of B A (LoRA, arXiv:2106.09685; rsLoRA, arXiv:2312.03732)."""
        rank = float(self.config["r"])
        return float(self.config["lora_alpha"]) / (rank**0.5 if self.config.get("use_rslora") else rank)

    @property
    def vision_layers(self) -> list[str]:
        """The layers of the vision tower that the adapter changes."""
        return sorted(
            module for module in self.factors if any(family.in_vision_tower(module) for family in FAMILIES.values())
        )


def read_adapter(path: str) -> Adapter:
    """The adapter of a run directory or adapter folder.

    Raises:
        RunError: there is no adapter, it is damaged, or it is not a plain LoRA.
    """
    folder = adapter_folder(path)
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError("the adapter's config cannot be read", str(folder), "copy the adapter again") from error
    unsupported = [name for name in UNMERGEABLE if config.get(name)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or unsupported:
        kind = ", ".join(unsupported) or f"type {config.get('peft_type')}, bias {config.get('bias')}"
        raise RunError(f"the adapter is not a plain LoRA ({kind})", str(folder), "merge it with PEFT")
    if not (folder / WEIGHTS_FILE).is_file():
        raise RunError("the adapter has no safetensors weights", str(folder / WEIGHTS_FILE), "copy the adapter again")
    sides: dict[str, dict[str, TensorLocation]] = {}
    unknown_keys = []
    for key, location in file_tensors(folder / WEIGHTS_FILE).items():
        match = _KEY.fullmatch(key)
        if match:
            sides.setdefault(match["module"], {})[match["side"]] = location
        else:
            unknown_keys.append(key)
    factors = {module: (pair["A"], pair["B"]) for module, pair in sides.items() if len(pair) == 2}
    unknown_keys += [f"{module} (one factor only)" for module, pair in sides.items() if len(pair) < 2]
    return Adapter(folder, config, factors, tuple(unknown_keys))


def target_tensors(adapter: Adapter, base: Mapping[str, TensorLocation]) -> dict[str, str]:
    """The tensors of the base that the adapter changes: tensor -> module.

    Raises:
        RunError: a layer is missing from the base or has another shape there: the adapter belongs to another base.
    """
    tensor_of_module = {loaded_name(name).removesuffix(".weight"): name for name in base}
    targets = {}
    for module, (down, up) in adapter.factors.items():
        name = tensor_of_module.get(module)
        expected = (up.shape[0], down.shape[1])
        if name is None or base[name].shape != expected or down.shape[0] != up.shape[1]:
            problem = (
                f"is {_by(base[name].shape)} in the base and {_by(expected)} in the adapter"
                if name
                else "is not in the base"
            )
            raise RunError(
                f"the adapter belongs to another base: {module} {problem}",
                f"{adapter.folder}, trained on {adapter.config.get('base_model_name_or_path')}",
                "name the base that it was trained on with --base",
            )
        targets[name] = module
    return targets


def missing_layers(adapter: Adapter, base: Mapping[str, TensorLocation]) -> list[str]:
    """The layers that the adapter's config names and its weights file lacks."""
    target_modules = adapter.config.get("target_modules") or []
    modules = [loaded_name(name).removesuffix(".weight") for name, location in base.items() if len(location.shape) == 2]
    if isinstance(target_modules, str):
        named = {module for module in modules if re.fullmatch(target_modules, module)}
    else:
        named = {
            module for module in modules if any(module == end or module.endswith(f".{end}") for end in target_modules)
        }
    return sorted(named - adapter.factors.keys())


def lora_factors(adapter: Adapter, module: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A (rank x in) and B (out x rank) of a layer, float32."""
    with safe_open(adapter.folder / WEIGHTS_FILE, "pt") as stream:
        down, up = (stream.get_tensor(f"base_model.model.{module}.lora_{side}.weight").float() for side in "AB")
    return down, up


def weight_delta(adapter: Adapter, module: str) -> torch.Tensor:
    """The adapter's change of a layer's weight: scale * B A, out x in, float32."""
    down, up = lora_factors(adapter, module)
    return up @ down * adapter.scaling


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
