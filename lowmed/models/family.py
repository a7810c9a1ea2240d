"""A family of vision-language models: one record holds everything that differs between families."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lowmed.models.architecture import Architecture

Config = Mapping[str, Any]


@dataclass(frozen=True)
class ModelFamily:
    """What lowmed knows of the models that share a `model_type`. Names of modules are those of the loaded model.

    Attributes:
        model_type: as in config.json.
        title: as its authors write it.
        architecture: sizes from a config.json; raises KeyError, TypeError or ValueError where the config does not fit.
        trainable: False where only memory and time are planned.
        language_model: name of the module with the decoder layers.
        vision_tower: name of the module that turns pixels into features.
        lora_targets: linear layers of the language model that carry the adapter.
        keep_16bit: modules that stay in 16 bits when the language layers are loaded in 4 bits.
        never_sampled: tokens that are suppressed in sampling. A weak model would sample them, and the next forward pass
            would then find more image placeholders than images.
        image_placeholder: text that stands for one image in a rendered prompt.
        shared_prefix: whether `engine/prefix` can run the decoder layers.
        vision_cache: whether features may be cached: the tower encodes each image independently of its batch.
        gguf_architecture: llama.cpp's name, or None where GGUF export is not supported.
        gguf_projector: llama.cpp's name for the vision tower's projector, with `gguf_architecture`.
        ollama_template: the chat template in Ollama's template language, or None where Ollama export is not supported.
        system_turn: the system turn that the chat template adds to a chat without one.
        renamed_prefixes: prefixes of tensor names in published checkpoints -> prefixes in the loaded model.
    """

    model_type: str
    title: str
    architecture: Callable[[Config], Architecture]
    trainable: bool = True
    language_model: str = "model.language_model"
    vision_tower: str = "model.visual"
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    keep_16bit: tuple[str, ...] = ("lm_head", "model.visual")
    never_sampled: tuple[str, ...] = ()
    image_placeholder: str = ""
    shared_prefix: bool = False
    vision_cache: bool = False
    gguf_architecture: str | None = None
    gguf_projector: str | None = None
    ollama_template: str | None = None
    system_turn: str = ""
    renamed_prefixes: Mapping[str, str] = field(default_factory=dict)

    def in_vision_tower(self, name: str) -> bool:
        """Whether a module or weight belongs to the vision tower; `name` may have PEFT's prefixes."""
        return f".{self.vision_tower.rpartition('.')[2]}." in f".{name}."

    def in_language_model(self, name: str) -> bool:
        """Whether a module or weight belongs to the language model; `name` may have PEFT's prefixes."""
        return f".{self.language_model.rpartition('.')[2]}." in f".{name}."

    @property
    def lora_pattern(self) -> str:
        """The regular expression by which PEFT finds the layers of the adapter: in the language model alone."""
        return rf".*{self.language_model.rpartition('.')[2]}.*\.({'|'.join(self.lora_targets)})"
