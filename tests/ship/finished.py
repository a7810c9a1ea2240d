"""A finished run of the embedded model with a random adapter, created without training or loading a model."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lowmed import nano
from lowmed.data.load import load
from lowmed.data.run_identity import store_data
from lowmed.data.split import split_data
from lowmed.models import FAMILIES
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run
from lowmed.ship import weights

RANK = 8
CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 2 * RANK, "lora_dropout": 0.0,
    "bias": "none", "target_modules": FAMILIES["qwen2_vl"].lora_pattern, "base_model_name_or_path": "nano",
    "inference_mode": True,
}  # fmt: skip
Tensors = dict[str, torch.Tensor]


def run(folder: Path, *overrides: str, strength: float = 0.02) -> Run:
    """The run; `strength` is the standard deviation of B."""
    recipe = load_recipe("rarl", ["eval.max_new_tokens=40", *overrides], nano=True)
    run = create_run(recipe, "made", out=str(folder))
    data = split_data(load("phantom"), recipe.data, recipe.seed)
    run.update(status="finished", steps=1, data_digest=data.digest, precision="fp32", image_pixels=[3136, 200704])
    store_data(run.folder, data)
    adapter(run.adapter, factors(strength))
    return run


def factors(strength: float, folder: Path | None = None) -> Tensors:
    """A and B of every linear layer of the language model of a base."""
    generator = torch.Generator().manual_seed(0)
    result: Tensors = {}
    locations = weights.tensor_locations(folder or nano.folder())
    loaded = weights.loaded_names(locations)
    for name, location in locations.items():
        if weights.is_language_linear(name, location):
            outputs, inputs = location.shape
            module = f"base_model.model.{loaded[name].removesuffix('.weight')}"
            result[f"{module}.lora_A.weight"] = torch.randn(RANK, inputs, generator=generator) * 0.05
            result[f"{module}.lora_B.weight"] = torch.randn(outputs, RANK, generator=generator) * strength
    return result


def adapter(folder: Path, tensors: Mapping[str, torch.Tensor], **config: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    save_file(dict(tensors), folder / "adapter_model.safetensors", {"format": "pt"})


def sharded(folder: Path) -> Path:
    """The embedded model in five shards with an index, like a large model on the hub."""
    shutil.copytree(nano.folder(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(nano.folder() / "model.safetensors")
    names = sorted(tensors)
    parts = [names[at::5] for at in range(5)]
    weight_map: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-00005.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
