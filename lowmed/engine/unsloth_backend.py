"""The unsloth backend: the same few functions as the transformers one. Import it before trl, transformers and peft."""

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

# unsloth writes the code it generates into the working folder, and imports from there what somebody else may have left.
# A folder of this process alone, gone when it ends, holds it; the variables are read at import.
_GENERATED = tempfile.TemporaryDirectory(prefix="lowmed-unsloth-", ignore_cleanup_errors=True)
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", _GENERATED.name)
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")

with contextlib.redirect_stdout(sys.stderr):  # it greets on the stream that results are read from
    from unsloth import FastVisionModel  # must follow the settings above, and come before the libraries below

import torch  # noqa: E402
import trl  # noqa: E402
from peft import PeftModel  # noqa: E402

from lowmed.engine.device import Device, kl_reference_error  # noqa: E402
from lowmed.engine.transformers_backend import DTYPES  # noqa: E402
from lowmed.models import ModelFamily, family_of  # noqa: E402
from lowmed.recipe import LoraSpec, ModelSpec  # noqa: E402

# Qwen2-VL's context. unsloth makes this the `max_length` of SFT whatever was asked for, and its own default of 2,048
# would cut rows of large images in the middle of an image.
LONGEST_TOKENS = 32_768
CHECKPOINTING = "unsloth"  # always on: the trainers take this mode from the model, not from their arguments


def load_arguments(source: str, spec: ModelSpec, machine: Device) -> dict[str, Any]:
    """What FastVisionModel.from_pretrained is given."""
    return {
        "model_name": source,
        "revision": spec.revision,
        "max_seq_length": LONGEST_TOKENS,
        "dtype": DTYPES[machine.precision],
        "device_map": {"": 0},  # its default spreads the layers over all cards
        "load_in_4bit": spec.load_in == "4bit",
        "load_in_16bit": spec.load_in == "16bit",
        "use_gradient_checkpointing": CHECKPOINTING,
        "offload_embedding": False,  # else moved to main memory where it finds the card too small
        "fast_inference": False,  # refused for Qwen2-VL
        "use_exact_model_name": True,  # else unsloth loads its own re-quantised copy of the model in place of this one
        "use_safetensors": True,  # else a pickle is taken where there is nothing better
    }


def adapter_arguments(lora: LoraSpec, family: ModelFamily) -> dict[str, Any]:
    """What FastVisionModel.get_peft_model is given: the language model alone is tuned, which is not its default."""
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": family.lora_pattern,  # the same layers, and the same adapter_config.json, as without unsloth
        "use_gradient_checkpointing": CHECKPOINTING,
        "random_state": torch.initial_seed() % 2**32,  # it seeds anew, by default with one number for every run
    }


def load(source: str, spec: ModelSpec, machine: Device) -> Any:
    """The base model on the card."""
    with contextlib.redirect_stdout(sys.stderr):
        model, _processor = FastVisionModel.from_pretrained(**load_arguments(source, spec, machine))
    return model


def add_adapter(model: Any, lora: LoraSpec) -> Any:
    """A fresh adapter on the language model's linear layers."""
    with contextlib.redirect_stdout(sys.stderr):
        return FastVisionModel.get_peft_model(model, **adapter_arguments(lora, family_of(model.config.model_type)))


def load_adapter(model: Any, folder: str, *, trainable: bool) -> Any:
    """The adapter of that folder on the model."""
    result = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    # As unsloth does after it has read an adapter: freezes the rest, and puts checkpointing around the new layers.
    return FastVisionModel.post_patch_model(result, use_gradient_checkpointing=CHECKPOINTING) if trainable else result


def undo_overrides(config: Any, *trainers: Any) -> None:
    """Put back what unsloth's rewriting of TRL changes in the outcome of a run rather than in its speed.

    It replaces an open `epsilon_high` under the dapo loss, and `scale_rewards` under dr_grpo, by values of its own,
    turns the processor's padding to the right, which misaligns image positions, and hands rewards bare texts where
    there are images. It also leaves out the copy of the starting adapter that the KL term is measured from, which is
    refused.

    Args:
        config: TRL's GRPOConfig.
        trainers: TRL's trainers.
    """
    made = config.__init__

    @functools.wraps(made)
    def configure(self: Any, **asked: Any) -> None:
        made(self, **asked)
        for name in {"epsilon_high", "scale_rewards"} & asked.keys():
            setattr(self, name, asked[name])

    config.__init__ = configure
    for trainer in trainers:
        trainer.__init__ = _checked(trainer.__init__)
        if hasattr(trainer, "_calculate_rewards"):
            trainer._calculate_rewards = _with_messages(trainer._calculate_rewards)


def _checked(built: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(built)
    def build(self: Any, *arguments: Any, **asked: Any) -> None:
        built(self, *arguments, **asked)
        self.processing_class.tokenizer.padding_side = "left"
        weights = self.model.named_parameters()
        if getattr(self, "beta", 0) and any(weight.any() for name, weight in weights if "lora_B.default" in name):
            raise kl_reference_error()

    return build


def _with_messages(rewarded: Callable[..., Any]) -> Callable[..., Any]:
    def reward(self: Any, inputs: Any, prompts: Any, completions: list[Any], ids: Any) -> Any:
        said = [[{"role": "assistant", "content": each}] if isinstance(each, str) else each for each in completions]
        return rewarded(self, inputs, prompts, said, ids)

    return reward


undo_overrides(trl.GRPOConfig, trl.GRPOTrainer, trl.SFTTrainer)
