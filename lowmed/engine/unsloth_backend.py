"""The unsloth backend: the functions of `transformers_backend`. Import it before trl, transformers and peft."""

import contextlib
import sys
from typing import Any

from lowmed.engine import patches

_GENERATED_CODE = patches.prepare_unsloth()  # kept until the process ends

with contextlib.redirect_stdout(sys.stderr):  # it prints a greeting, and stdout is for results
    from unsloth import FastVisionModel  # must follow `prepare_unsloth`, and precede the libraries below

import torch  # noqa: E402
import trl  # noqa: E402
from peft import PeftModel  # noqa: E402

from lowmed.engine.device import Device  # noqa: E402
from lowmed.engine.transformers_backend import DTYPES  # noqa: E402
from lowmed.models import ModelFamily, family_of  # noqa: E402
from lowmed.recipe import LoraSpec, ModelSpec  # noqa: E402

# The context of Qwen2-VL. unsloth sets SFT's `max_length` to this number whatever the trainer's arguments are
# (https://github.com/unslothai/unsloth/pull/2669), and its default of 2,048 would truncate rows inside a large image.
MAX_TOKENS = 32_768
CHECKPOINTING = "unsloth"  # always on: the trainers take this mode from the model, not from their arguments


def load_arguments(source: str, spec: ModelSpec, device: Device) -> dict[str, Any]:
    """The arguments of FastVisionModel.from_pretrained.

    Args:
        source: hub id or folder.
        spec: weights, revision and quantization.
        device: supplies the precision.
    """
    return {
        "model_name": source,
        "revision": spec.revision,
        "max_seq_length": MAX_TOKENS,
        "dtype": DTYPES[device.precision],
        "device_map": {"": 0},  # the default spreads the layers over all GPUs
        "load_in_4bit": spec.load_in == "4bit",
        "load_in_16bit": spec.load_in == "16bit",
        "use_gradient_checkpointing": CHECKPOINTING,
        "offload_embedding": False,  # by default offloaded where unsloth considers the GPU too small
        "fast_inference": False,  # not supported for Qwen2-VL
        "use_exact_model_name": True,  # by default unsloth loads its own quantized copy of the model instead
        "use_safetensors": True,  # by default it falls back to a pickle
    }


def adapter_arguments(lora: LoraSpec, family: ModelFamily) -> dict[str, Any]:
    """The arguments of FastVisionModel.get_peft_model: an adapter on the language model only.

    Args:
        lora: shape of the adapter.
        family: supplies the pattern of the adapted layers.
    """
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": family.lora_pattern,  # the same layers and adapter_config.json as without unsloth
        "use_gradient_checkpointing": CHECKPOINTING,
        "random_state": torch.initial_seed() % 2**32,  # it seeds torch again, by default with 3407
    }


def load(source: str, spec: ModelSpec, device: Device) -> Any:
    """The base model on the GPU.

    Args:
        source: hub id or folder.
        spec: weights, revision and quantization.
        device: supplies the precision.
    """
    with contextlib.redirect_stdout(sys.stderr):
        model, _processor = FastVisionModel.from_pretrained(
            **load_arguments(source, spec, device), trust_remote_code=False
        )
    return model


def add_adapter(model: Any, lora: LoraSpec) -> Any:
    """The model with a new adapter on the linear layers of its language model."""
    with contextlib.redirect_stdout(sys.stderr):
        return FastVisionModel.get_peft_model(model, **adapter_arguments(lora, family_of(model.config.model_type)))


def load_adapter(model: Any, folder: str, *, trainable: bool) -> Any:
    """The model with the adapter of a folder."""
    adapted = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    # unsloth does the same after loading an adapter: it freezes the base and checkpoints the new layers.
    return FastVisionModel.post_patch_model(adapted, use_gradient_checkpointing=CHECKPOINTING) if trainable else adapted


patches.undo_unsloth_overrides(trl.GRPOConfig, trl.GRPOTrainer, trl.SFTTrainer)
