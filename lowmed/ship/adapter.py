"""A LoRA adapter as it lies on the disk: which layers of the base it changes, and by how much."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from lowmed.engine.load import adapter_folder
from lowmed.errors import RunError
from lowmed.models import FAMILIES
from lowmed.ship import weights
from lowmed.ship.weights import TensorLocation

FILE = "adapter_model.safetensors"
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# What LoRA can be beside W + scale * B A; such an adapter would be merged wrongly without a word.
UNMERGEABLE = (
    "use_dora", "use_qalora", "use_bdlora", "alpha_pattern", "fan_in_fan_out", "lora_bias", "modules_to_save",
    "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "layer_replication",
)  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """The adapter's own config, and where the two factors of each layer lie: module -> (A, B)."""

    folder: Path
    config: Mapping[str, Any]
    factors: Mapping[str, tuple[TensorLocation, TensorLocation]]
    left_over: tuple[str, ...]

    @property
    def scaling(self) -> float:
        """What B A is multiplied by (LoRA, arXiv:2106.09685; rsLoRA, arXiv:2312.03732)."""
        rank = float(self.config["r"])
        return float(self.config["lora_alpha"]) / (rank**0.5 if self.config.get("use_rslora") else rank)

    @property
    def vision(self) -> list[str]:
        """The layers of the vision tower that it changes."""
        return sorted(
            module for module in self.factors if any(family.in_vision_tower(module) for family in FAMILIES.values())
        )


def read(path: str) -> Adapter:
    """The adapter of a run or adapter folder.

    Raises:
        RunError: there is none, it is damaged, or it is more than a plain LoRA.
    """
    folder = adapter_folder(path)
    try:
        config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError("the adapter's config can not be read", str(folder), "copy the adapter again") from error
    more = [name for name in UNMERGEABLE if config.get(name)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or more:
        kind = ", ".join(more) or f"type {config.get('peft_type')}, bias {config.get('bias')}"
        raise RunError(f"this is more than a plain LoRA ({kind})", str(folder), "merge it with PEFT itself")
    if not (folder / FILE).is_file():
        raise RunError("the adapter has no safetensors weights", str(folder / FILE), "copy the adapter again")
    sides: dict[str, dict[str, TensorLocation]] = {}
    left_over = []
    for key, place in weights.in_file(folder / FILE).items():
        match = _KEY.fullmatch(key)
        if match:
            sides.setdefault(match["module"], {})[match["side"]] = place
        else:
            left_over.append(key)
    factors = {module: (both["A"], both["B"]) for module, both in sides.items() if len(both) == 2}
    left_over += [f"{module} (one factor only)" for module, both in sides.items() if len(both) < 2]
    return Adapter(folder, config, factors, tuple(left_over))


def targets(adapter: Adapter, base: Mapping[str, TensorLocation]) -> dict[str, str]:
    """Which tensor of the base each layer of the adapter changes: tensor -> module.

    Raises:
        RunError: a layer is not in the base or has another shape there: the adapter is of another base.
    """
    by_module = {weights.canonical(name).removesuffix(".weight"): name for name in base}
    result = {}
    for module, (down, up) in adapter.factors.items():
        name = by_module.get(module)
        needed = (up.shape[0], down.shape[1])
        if name is None or base[name].shape != needed or down.shape[0] != up.shape[1]:
            has = f"is {_by(base[name].shape)} there and {_by(needed)} here" if name else "is not in it"
            raise RunError(
                f"the adapter belongs to another base: {module} {has}",
                f"{adapter.folder}, trained on {adapter.config.get('base_model_name_or_path')}",
                "name the base that it was trained on with --base",
            )
        result[name] = module
    return result


def missing(adapter: Adapter, base: Mapping[str, TensorLocation]) -> list[str]:
    """The layers that its own config names and the file does not hold."""
    wanted = adapter.config.get("target_modules") or []
    modules = [weights.canonical(name).removesuffix(".weight") for name, place in base.items() if len(place.shape) == 2]
    if isinstance(wanted, str):
        named = {module for module in modules if re.fullmatch(wanted, module)}
    else:
        named = {module for module in modules if any(module == end or module.endswith(f".{end}") for end in wanted)}
    return sorted(named - adapter.factors.keys())


def factors(adapter: Adapter, module: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A (rank x in) and B (out x rank) of a layer, float32."""
    with safe_open(adapter.folder / FILE, "pt") as opened:
        down, up = (opened.get_tensor(f"base_model.model.{module}.lora_{side}.weight").float() for side in "AB")
    return down, up


def delta(adapter: Adapter, module: str) -> torch.Tensor:
    """What the adapter adds to the weight of a layer: scale * B A, out x in, float32."""
    down, up = factors(adapter, module)
    return up @ down * adapter.scaling


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
