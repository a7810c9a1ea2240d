"""Adapters of the embedded model as PEFT writes them, of every kind, with random factors in place of training."""

import copy
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText

from lowmed import nano

LIST = ["q_proj", "v_proj", "down_proj"]
TOWER = r".*visual\.(blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])|merger\.mlp\.[02]|patch_embed\.proj)"
# Kinds that every command takes: name -> arguments of LoraConfig.
TAKEN: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "regular expression": {"target_modules": r"model\.language_model\.(?:layers\.\d+\.)+(self_attn|mlp)\.(q|up)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "DoRA and rsLoRA": {"use_dora": True, "use_rslora": True, "rank_pattern": {"v_proj": 8}},
    "rank_pattern": {"rank_pattern": {"q_proj": 8, r"layers\.[01]\..*v_proj": 3, "nothing": 64}},
    "alpha_pattern": {"alpha_pattern": {r"^model\.language_model\.layers\.3\..*": 1, "v_proj": 64}},
    "layers_to_transform": {"layers_to_transform": [1, 2], "layers_pattern": "layers"},
    "one layer": {"layers_to_transform": 3},
    "exclude_modules": {"exclude_modules": r".*layers\.[02]\..*"},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "MiCA": {"init_lora_weights": "mica"},
    "vision tower": {"target_modules": TOWER},
}
# Kinds that every command refuses: name -> arguments of LoraConfig, and a part of the error.
REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "PiSSA": ({"init_lora_weights": "pissa"}, "initialized with PiSSA"),
    "PiSSA, fast": ({"init_lora_weights": "pissa_niter_4"}, "initialized with PiSSA"),
    "OLoRA": ({"init_lora_weights": "olora"}, "initialized with OLoRA"),
    "lora_bias": ({"lora_bias": True, "target_modules": ["q_proj"]}, "its layers add a bias"),
    "bias": ({"bias": "lora_only"}, "trained biases"),
    "modules_to_save": ({"modules_to_save": ["merger"]}, "replaces modules"),
    "trained tokens": ({"trainable_token_indices": [1, 2]}, "rows of the embeddings"),
    "embeddings": ({"target_modules": ["q_proj", "embed_tokens"]}, "a LoRA of the embeddings"),
    "aLoRA": ({"alora_invocation_tokens": [1, 2]}, "aLoRA"),
    "KaSA": ({"kasa_config": {}}, "KaSA"),
}


@functools.cache
def _base() -> Any:
    return AutoModelForImageTextToText.from_pretrained(nano.folder(), dtype=torch.float32)


def base() -> Any:
    """A fresh copy of the embedded model in float32."""
    return copy.deepcopy(_base())


def config(**options: Any) -> LoraConfig:
    if options.get("kasa_config") == {}:
        from peft.tuners.lora.config import KasaConfig

        options["kasa_config"] = KasaConfig()
    options = {"r": 2, "lora_alpha": 4, "target_modules": LIST, "task_type": "CAUSAL_LM"} | options
    return LoraConfig(**options)


def trained(folder: Path, *, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """Write an adapter with PEFT, and return the model that it belongs to."""
    model = get_peft_model(base(), config(**options))
    train(model, dtype)
    save(model, folder)
    return model


def train(model: Any, dtype: torch.dtype = torch.float32) -> None:
    """Change every factor, as training does."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_magnitude" in name:
                weight.mul_(1 + 0.1 * torch.rand(weight.shape, generator=generator))
            elif "lora_" in name:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
                weight.copy_(weight.to(dtype))


def save(model: Any, folder: Path) -> None:
    model.peft_config["default"].base_model_name_or_path = "nano"
    model.save_pretrained(str(folder), save_embedding_layers=False)


def deltas(model: Any) -> dict[str, torch.Tensor]:
    """Layer -> the change that PEFT's own merge makes to its weight."""
    before = {name: value.clone() for name, value in base().named_parameters()}
    merged = dict(copy.deepcopy(model).merge_and_unload().named_parameters())
    changes = {name.removesuffix(".weight"): merged[name].detach() - value for name, value in before.items()}
    return {name: change for name, change in changes.items() if bool(change.any())}


def loaded(folder: Path) -> Any:
    """A model with the adapter, loaded by PEFT alone."""
    return PeftModel.from_pretrained(base(), str(folder))


def converted(folder: Path, scratch: Path) -> Any:
    """A PiSSA adapter that PEFT has converted to a plain one. The model still holds the PiSSA."""
    model = get_peft_model(base(), config(init_lora_weights="pissa"))
    model.peft_config["default"].base_model_name_or_path = "nano"
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(str(scratch / "initial"), save_embedding_layers=False)
    model.peft_config["default"].init_lora_weights = "pissa"
    train(model)
    model.save_pretrained(
        str(folder), save_embedding_layers=False, path_initial_model_for_weight_conversion=str(scratch / "initial")
    )
    return model


Rename = Callable[[str], str]
# How programs and versions name the same tensors: name -> the key, from PEFT's of today.
NAMES: Mapping[str, Rename] = {
    "before transformers 4.52": lambda key: key.replace("model.language_model.", "model.").replace(
        "model.visual.", "visual."
    ),
    "a state dict": lambda key: key.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default."),
    "without PEFT's prefix": lambda key: key.removeprefix("base_model.model."),
    "with PEFT's prefix twice": lambda key: f"base_model.model.{key}",
    "distributed and compiled": lambda key: f"module._orig_mod.{key}".replace(
        "layers.", "layers._fsdp_wrapped_module."
    ),
    "the model without its head": lambda key: key.replace("base_model.model.model.", "base_model.model."),
}
