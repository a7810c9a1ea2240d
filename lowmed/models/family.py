"""A family of models: one record holds everything that differs between families."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lowmed.models.architecture import Architecture

Config = Mapping[str, Any]
_LANGUAGE_MODEL = "model.language_model"  # in vision-language models


@dataclass(frozen=True)
class ModelFamily:
    """A model family. Module names are those of the loaded model.

    Attributes:
        model_type: as in config.json.
        title: the name that its authors use.
        architecture: reads the dimensions from a config.json. Raises KeyError, IndexError, TypeError, ValueError
            or ArithmeticError if the config does not fit the family.
        language_model: name of the module with the decoder layers.
        vision_tower: name of the module that encodes images; "" in a text-only model.
        token_side: side in pixels of the square that one image token covers.
        lora_targets: linear layers of the language model that carry the adapter.
        keep_16bit: modules that stay in 16 bits when the language layers are loaded in 4 bits.
        never_sampled: tokens that are suppressed in sampling. An untrained model could sample an image placeholder, and
            the next forward pass would find more placeholders than images.
        image_placeholder: text of one image in a rendered prompt.
        image_pad: the token that stands for one feature of an image.
        image_settings: settings of the image processor that keep every image in one piece, where images have one size.
        processor_packages: packages that the processor needs and that lowmed does not install.
        boxes_in_pixels: whether it writes boxes in pixels of the resized image, instead of thousandths of each side.
        fp16: whether it computes in fp16, the only 16-bit precision of GPUs before Ampere.
        shared_prefix: whether `engine.prefix` can run the decoder layers.
        vision_cache: whether image features may be cached: the encoding of an image must not depend on its batch.
        gguf_architecture: name in llama.cpp, or None if GGUF export is not supported.
        gguf_projector: llama.cpp's name for the vision tower's projector, with `gguf_architecture`; None without one.
        renamed_prefixes: prefixes of tensor names in published checkpoints -> prefixes in the loaded model.
    """

    model_type: str
    title: str
    architecture: Callable[[Config], Architecture]
    language_model: str = _LANGUAGE_MODEL
    vision_tower: str = "model.visual"
    token_side: int = 28
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    keep_16bit: tuple[str, ...] = ("lm_head", "model.visual")
    never_sampled: tuple[str, ...] = ()
    image_placeholder: str = ""
    image_pad: str = ""
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    processor_packages: tuple[str, ...] = ()
    boxes_in_pixels: bool = False
    fp16: bool = True
    shared_prefix: bool = False
    vision_cache: bool = False
    gguf_architecture: str | None = None
    gguf_projector: str | None = None
    renamed_prefixes: Mapping[str, str] = field(default_factory=dict)

    def in_vision_tower(self, name: str) -> bool:
        """Whether a module or weight belongs to the vision tower. `name` may have the prefixes that PEFT adds."""
        return not self.text_only and f".{self.vision_tower.rpartition('.')[2]}." in f".{name}."

    def in_language_model(self, name: str) -> bool:
        """Whether a module or weight belongs to the language model. `name` may have the prefixes that PEFT adds."""
        last = self.language_model.rpartition(".")[2]
        return any(f".{last}.{part}." in f".{name}." for part in ("layers", "embed_tokens", "norm"))

    def own_module(self, name: str) -> str:
        """The name of a module in this family's models, from its name in vision-language models."""
        return name.replace(f"{_LANGUAGE_MODEL}.", f"{self.language_model}.", 1) if self.text_only else name

    def loaded_module(self, name: str) -> str:
        """The name of a module in the loaded model, from the name that any version of transformers gave it.

        Versions differ in the prefixes of the language model and of the vision tower. Other names stay as they are.
        """
        language, tower = self.language_model.rpartition(".")[2], self.vision_tower.rpartition(".")[2]
        if match := re.fullmatch(rf"(?:model\.|{language}\.)*((?:layers\.\d+\..+)|embed_tokens|norm)", name):
            return f"{self.language_model}.{match[1]}"
        if match := re.fullmatch(rf"(?:model\.)*{tower}\.(.+)", name):
            return f"{self.vision_tower}.{match[1]}"
        return "lm_head" if re.fullmatch(rf"(?:model\.|{language}\.)*lm_head", name) else name

    def published_module(self, name: str) -> str:
        """The name of a module of the loaded model in versions of transformers before `renamed_prefixes`."""
        dotted = f"{name}."
        for published, loaded in self.renamed_prefixes.items():
            if dotted.startswith(loaded):
                return (published + dotted.removeprefix(loaded)).removesuffix(".")
        return name

    @property
    def text_only(self) -> bool:
        """Whether the model reads no images."""
        return not self.vision_tower

    @property
    def fixed_size(self) -> bool:
        """Whether the processor resizes every image to one size."""
        return bool(self.image_settings)

    @property
    def lora_pattern(self) -> str:
        """Regular expression for `LoraConfig.target_modules`: the adapted layers, in the language model only."""
        return rf".*{self.language_model.rpartition('.')[2]}.*\.({'|'.join(self.lora_targets)})"
