"""The merged Hugging Face folder that GGUF files are converted from: settings, tokenizer and tensors."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from lowmed.errors import RunError
from lowmed.files import load_json
from lowmed.models import FAMILIES, ModelFamily
from lowmed.ship.gguf.tokenizer import adds_start_token, load_tokenizer, pre_tokenizer
from lowmed.ship.weights import published_name

_MERGE_AGAIN = "write the merged folder again with `lowmed merge`"


@dataclass(frozen=True)
class GgufSource:
    """A merged 16-bit folder with every tensor in the shape that its config requires.

    Attributes:
        folder: the folder.
        config: its transformers config.
        family: its model family.
        tokenizer: the parsed tokenizer.json.
        pre_tokenizer: llama.cpp's name for its pre-tokenizer.
        adds_start_token: whether llama.cpp must add the start token.
        files: tensor, by its name in the folder -> safetensors file.
        stored_names: tensor, by its published name (`model.layers.0...`, `visual.blocks.0...`) -> name in the folder.
    """

    folder: Path
    config: Any
    family: ModelFamily
    tokenizer: dict[str, Any]
    pre_tokenizer: str
    adds_start_token: bool
    files: dict[str, Path]
    stored_names: dict[str, str]

    @property
    def text(self) -> Any:
        """The config of the language model."""
        return self.config.get_text_config()

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return head_dim(self.text)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, by its published name, without reading its values."""
        with safe_open(self.files[self.stored_names[name]], "pt") as stream:
            return tuple(stream.get_slice(self.stored_names[name]).get_shape())

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor, by its published name, in its stored dtype."""
        with safe_open(self.files[self.stored_names[name]], "pt") as stream:
            tensor: torch.Tensor = stream.get_tensor(self.stored_names[name])
            return tensor

    @cached_property
    def images(self) -> dict[str, Any]:
        """The result of `image_settings`."""
        return image_settings(self.folder)


def open_source(folder: Path) -> GgufSource:
    """Read the folder's settings and tensor names, and check that llama.cpp can run the model.

    Raises:
        RunError: llama.cpp does not support the model or one of its settings, or the folder is incomplete.
    """
    family, config = _supported_config(folder)
    if "quantization_config" in read_object(folder, "config.json"):
        raise RunError("the weights are already quantized", str(folder / "config.json"), f"{_MERGE_AGAIN} in 16 bits")
    tokenizer, files = read_object(folder, "tokenizer.json"), _tensor_files(folder)
    source = GgufSource(
        folder=folder,
        config=config,
        family=family,
        tokenizer=tokenizer,
        pre_tokenizer=pre_tokenizer(tokenizer, folder),
        adds_start_token=adds_start_token(load_tokenizer(folder), folder),
        files=files,
        stored_names={published_name(name, family): name for name in files},
    )
    _check_tensors(source)
    if not family.text_only:
        image_settings(folder)
    return source


def require_convertible(base: Path) -> None:
    """Check config and tokenizer of a base, so that its merge can become GGUF files.

    Raises:
        RunError: llama.cpp does not support the model or one of its settings.
    """
    _supported_config(base)
    tokenizer = load_tokenizer(base)  # its tokenizer.json may differ from what transformers loads, trains and saves
    pre_tokenizer(json.loads(tokenizer.backend_tokenizer.to_str()), base)
    adds_start_token(tokenizer, base)


def gguf_family(folder: Path) -> ModelFamily:
    """The family of a model folder that can become GGUF files.

    Raises:
        RunError: config.json cannot be read, or lowmed does not convert the family.
    """
    model_type = str(read_object(folder, "config.json").get("model_type"))
    family = FAMILIES.get(model_type)
    if family is None or family.gguf_architecture is None:
        supported = ", ".join(f"`{one.model_type}`" for one in FAMILIES.values() if one.gguf_architecture)
        raise RunError(
            f"GGUF export supports {supported}, not `{model_type}`",
            str(folder / "config.json"),
            "merge the run, and convert the folder with llama.cpp's convert_hf_to_gguf.py",
        )
    return family


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of the folder.

    Raises:
        RunError: the file is missing or does not hold a JSON object.
    """
    try:
        content = load_json(folder / name)
    except (OSError, ValueError) as error:
        raise RunError(f"{name} cannot be read: {error}", str(folder), _MERGE_AGAIN) from error
    if not isinstance(content, dict):
        raise RunError(f"{name} does not hold a JSON object", str(folder), _MERGE_AGAIN)
    return content


def head_dim(text: Any) -> int:
    """Width of one attention head, from the config of a language model."""
    width: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return width


def image_settings(folder: Path) -> dict[str, Any]:
    """The settings of the image processor: `image_mean`, `image_std`, and `pixels`, the limits of an image's area.

    Raises:
        RunError: one of them is missing.
    """
    if (folder / "processor_config.json").is_file():
        processor = read_object(folder, "processor_config.json").get("image_processor", {})
    else:
        processor = read_object(folder, "preprocessor_config.json")
    size = processor.get("size") or {}
    settings = {
        "image_mean": processor.get("image_mean"),
        "image_std": processor.get("image_std"),
        # Qwen's published folders use min_pixels and max_pixels.
        "pixels": [
            size.get("shortest_edge", processor.get("min_pixels")),
            size.get("longest_edge", processor.get("max_pixels")),
        ],
    }
    if any(not isinstance(value, (int, float)) for values in settings.values() for value in values or [None]):
        raise RunError("the image processor's mean, standard deviation or size is missing", str(folder), _MERGE_AGAIN)
    return settings


def _tensor_files(folder: Path) -> dict[str, Path]:
    shards = [folder / "model.safetensors"]
    if (folder / "model.safetensors.index.json").is_file():
        index = read_object(folder, "model.safetensors.index.json")["weight_map"]
        shards = [folder / shard for shard in sorted(set(index.values()))]
    files = {}
    for shard in shards:
        try:
            with safe_open(shard, "pt") as stream:
                files.update(dict.fromkeys(stream.keys(), shard))
        except (OSError, SafetensorError) as error:
            raise RunError(f"{shard.name} is missing or damaged: {error}", str(folder), _MERGE_AGAIN) from error
    return files


def _check_tensors(source: GgufSource) -> None:
    auto = AutoModelForCausalLM if source.family.text_only else AutoModelForImageTextToText
    with torch.device("meta"):
        empty = auto.from_config(source.config, trust_remote_code=False)
    expected = {published_name(name, source.family): tuple(weight.shape) for name, weight in empty.state_dict().items()}
    if source.config.tie_word_embeddings:
        del expected["lm_head.weight"]
    wrong = sorted(
        name for name, shape in expected.items() if name not in source.stored_names or source.shape(name) != shape
    )
    if wrong:
        raise RunError(
            f"{len(wrong)} of {len(expected)} tensors are missing or have another shape, first {', '.join(wrong[:3])}",
            str(source.folder),
            _MERGE_AGAIN,
        )


def _supported_config(folder: Path) -> tuple[ModelFamily, Any]:
    """Family and config of a model folder, whose settings are those of llama.cpp's implementation."""
    family = gguf_family(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (KeyError, TypeError, ValueError, StrictDataclassError) as error:
        what = f"transformers rejects the config: {error}"
        raise RunError(what, str(folder / "config.json"), _MERGE_AGAIN) from error
    for where, (value, *supported) in _hard_coded(family, config).items():
        if value not in supported:
            raise RunError(
                f"llama.cpp's {family.title} requires {' or '.join(map(repr, supported))}, this model has {value!r}",
                f"{folder / 'config.json'}, {where}",
                "serve the merged folder with vLLM or transformers instead",
            )
    return family, config


def _hard_coded(family: ModelFamily, config: Any) -> dict[str, tuple[Any, ...]]:
    """Setting -> its value, and the values that llama.cpp's implementation can have without a field in the file."""
    text, rope = config.get_text_config(), config.get_text_config().rope_parameters
    # Only the implementation of Llama reads the tensor with the factors of `llama3`.
    rope_types = ("default", "llama3") if family.model_type == "llama" else ("default",)
    settings: dict[str, tuple[Any, ...]] = {
        "hidden_act": (text.hidden_act, "silu"),
        "layer_types": (sorted({*(getattr(text, "layer_types", None) or ["full_attention"])}), ["full_attention"]),
        "rope_parameters.rope_type": (rope["rope_type"], *rope_types),
        "rope_parameters.partial_rotary_factor": (rope.get("partial_rotary_factor", 1.0), 1.0),
        "attention_bias": (getattr(text, "attention_bias", False), False),
        "mlp_bias": (getattr(text, "mlp_bias", False), False),
    }
    if family.model_type in ("qwen2", "qwen2_vl"):
        settings["head_dim"] = (head_dim(text), text.hidden_size / text.num_attention_heads)
    if family.text_only:
        return settings
    vision = config.vision_config
    return {f"text_config.{name}": values for name, values in settings.items()} | {
        "vision_config.hidden_act": (vision.hidden_act, "quick_gelu"),
        "vision_config.spatial_merge_size": (vision.spatial_merge_size, 2),
        "vision_config.temporal_patch_size": (vision.temporal_patch_size, 2),
    }
