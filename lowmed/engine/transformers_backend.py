"""The transformers backend: load the base model and add an adapter, with peft and bitsandbytes."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, BitsAndBytesConfig

from lowmed.engine import patches
from lowmed.engine.device import Device
from lowmed.engine.shard_support import divides
from lowmed.errors import SetupError
from lowmed.models import ModelFamily, family_of
from lowmed.recipe import LoraSpec, ModelSpec

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# Random numbers that all random weights repeat, because a CPU draws those of 2B weights in a minute. It is a prime, so
# that no two rows of a matrix have equal numbers.
DRAWN = 2**22 + 15


def load(source: str, spec: ModelSpec, device: Device) -> Any:
    """The base model on its device.

    Args:
        source: hub id or folder.
        spec: weights, revision and quantization.
        device: where the model is put, and its precision.
    """
    family = family_of(
        AutoConfig.from_pretrained(source, revision=spec.revision or "main", trust_remote_code=False).model_type
    )
    options: dict[str, Any] = {
        "dtype": DTYPES[device.precision],
        # A model that is divided is larger than a GPU. `sharding` moves it there layer by layer.
        "device_map": {"": 0 if device.type == "cuda" and not divides(spec) else "cpu"},
        "attn_implementation": "sdpa",
    }
    if spec.load_in == "4bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=DTYPES[device.precision],
            # FSDP2 divides floating-point weights only, with torch 2.11. The bytes are the same.
            bnb_4bit_quant_storage=DTYPES[device.precision] if divides(spec) else torch.uint8,
            # A list replaces transformers' default list, so it must name the head too.
            llm_int8_skip_modules=list(family.keep_16bit),
        )
    if spec.weights == "random":
        model = _random(auto_class(family), source, options)
    else:
        model, keys = auto_class(family).from_pretrained(
            source,
            revision=spec.revision or "main",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
        _require_own_weights(keys, family, source)
    patches.keep_4bit_layers_trainable(model)
    return model


def _require_own_weights(keys: Mapping[str, Collection[str]], family: ModelFamily, source: str) -> None:
    """Refuse weights of another model: transformers leaves out what its class has no place for, with a warning.

    Args:
        keys: `missing_keys` and `unexpected_keys` of `from_pretrained`.
        family: the family of the model.
        source: the model, for the error.

    Raises:
        SetupError: a weight is missing, or a weight of the language model has no place.
    """
    extra = [name for name in keys["unexpected_keys"] if family.in_language_model(family.loaded_module(name))]
    for names, problem in ((keys["missing_keys"], "are missing"), (extra, "have no place in the model")):
        if names:
            raise SetupError(
                f"{len(names)} weights {problem}, first {min(names)}",
                source,
                "use a folder whose weights and config.json belong to one model",
            )


def auto_class(family: ModelFamily) -> Any:
    """The class of transformers that loads models of a family."""
    return AutoModelForCausalLM if family.text_only else AutoModelForImageTextToText


def add_adapter(model: Any, lora: LoraSpec) -> Any:
    """The model with a new adapter on the linear layers of its language model."""
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,  # TRL samples in train mode: with dropout the completions would come from another model
        # Servers cannot load an adapter on the vision tower, and a frozen tower needs no autograd graph.
        target_modules=family_of(model.config.model_type).lora_pattern,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def load_adapter(model: Any, folder: str, *, trainable: bool) -> Any:
    """The model with the adapter of a folder."""
    return PeftModel.from_pretrained(model, folder, is_trainable=trainable)


def _random(auto: Any, source: str, options: dict[str, Any]) -> Any:
    """The architecture of a config folder with random weights from torch's global generator."""
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    with torch.device("meta"):
        empty = auto.from_config(config, trust_remote_code=False)
    state, drawn, used = {}, torch.empty(DRAWN, dtype=torch.bfloat16).normal_(0.0, 0.02), 0
    for name, weight in empty.state_dict().items():
        if name in empty.all_tied_weights_keys:  # with weights of its own the head would no longer be tied
            continue
        if weight.dim() > 1:
            end = used + weight.numel()
            state[name] = drawn.repeat(-(-end // DRAWN))[used:end].view(weight.shape)
            used = end % DRAWN
        else:  # scales and biases
            state[name] = (torch.ones if name.endswith("weight") else torch.zeros)(weight.shape, dtype=torch.bfloat16)
    return type(empty).from_pretrained(None, config=config, state_dict=state, trust_remote_code=False, **options)
