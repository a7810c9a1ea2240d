"""The unsloth backend: the same few functions as the transformers one. Import it before trl, transformers and peft."""

import os
import tempfile
from typing import Any

# unsloth writes the code it generates into the working folder, and imports from there what somebody else may have left.
# A folder of this process alone, gone when it ends, holds it; the variables are read at import.
_GENERATED = tempfile.TemporaryDirectory(prefix="lowmed-unsloth-", ignore_cleanup_errors=True)
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", _GENERATED.name)
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")

from unsloth import FastVisionModel  # noqa: E402  # must follow the settings above

from lowmed import recipe  # noqa: E402
from lowmed.engine.machine import Machine  # noqa: E402


def load_arguments(source: str, spec: recipe.Model) -> dict[str, Any]:
    """What FastVisionModel.from_pretrained is given."""
    return {
        "model_name": source,
        "revision": spec.revision,
        "load_in_4bit": spec.load_in == "4bit",
        "load_in_16bit": spec.load_in == "16bit",
        "use_gradient_checkpointing": "unsloth",
        "fast_inference": False,  # refused for Qwen2-VL
        "use_exact_model_name": True,  # else unsloth loads its own re-quantised copy of the model in place of this one
    }


def adapter_arguments(lora: recipe.Lora) -> dict[str, Any]:
    """What FastVisionModel.get_peft_model is given: the language model alone is tuned, which is not its default."""
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0,
        "bias": "none",
        "finetune_vision_layers": False,
        "finetune_language_layers": True,
        "finetune_attention_modules": True,
        "finetune_mlp_modules": True,
        "use_gradient_checkpointing": "unsloth",
    }


def load(source: str, spec: recipe.Model, machine: Machine) -> Any:
    """The base model on the card; unsloth finds device and precision itself."""
    del machine
    model, _processor = FastVisionModel.from_pretrained(**load_arguments(source, spec))
    return model


def add_adapter(model: Any, lora: recipe.Lora) -> Any:
    """A fresh adapter on the language model's linear layers."""
    return FastVisionModel.get_peft_model(model, **adapter_arguments(lora))


def load_adapter(model: Any, folder: str, *, trainable: bool) -> Any:
    """The adapter of that folder on the model."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, is_trainable=trainable)
