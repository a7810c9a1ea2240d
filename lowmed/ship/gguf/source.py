"""The merged Hugging Face folder that GGUF files are made from: its settings and its weights, read tensor by tensor."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, Qwen2VLForConditionalGeneration

from lowmed.errors import RunError
from lowmed.models import FAMILIES

# The only splitting of text for which Qwen2's merges were learnt; GGUF names it instead of spelling it out.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_MERGE_AGAIN = "write the merged folder again with `lowmed merge`"


@dataclass(frozen=True)
class Source:
    """A merged 16-bit folder, checked: a Qwen2-VL whose every tensor is there in the shape that its config asks for.

    `files` gives the safetensors file of each tensor, by the name that it has in the folder; `names` gives that name
    by the tensor's plain one, `model.layers.0...` or `visual.blocks.0...`.
    """

    folder: Path
    config: Any
    files: dict[str, Path]
    names: dict[str, str]

    def shape(self, plain: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        with safe_open(self.files[self.names[plain]], "pt") as file:
            return tuple(file.get_slice(self.names[plain]).get_shape())

    def tensor(self, plain: str) -> torch.Tensor:
        """A tensor in its stored precision."""
        with safe_open(self.files[self.names[plain]], "pt") as file:
            result: torch.Tensor = file.get_tensor(self.names[plain])
            return result

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        """The parsed tokenizer.json."""
        return read(self.folder, "tokenizer.json")

    @cached_property
    def images(self) -> dict[str, Any]:
        """As `image_settings`."""
        return image_settings(self.folder)


def open_source(folder: Path) -> Source:
    """Read the folder's settings and the list of its tensors, and check that llama.cpp can run such a model.

    Raises:
        RunError: it is no 16-bit Qwen2-VL, a file or a tensor is missing or has another shape, or llama.cpp has no
            word for one of its settings.
    """
    raw = read(folder, "config.json")
    family = FAMILIES.get(str(raw.get("model_type")))
    if family is None or family.gguf_architecture is None:
        known = ", ".join(f"`{each.model_type}`" for each in FAMILIES.values() if each.gguf_architecture)
        raise RunError(
            f"GGUF export supports {known}, not `{raw.get('model_type')}`",
            str(folder / "config.json"),
            "convert this model with llama.cpp's own convert_hf_to_gguf.py",
        )
    if "quantization_config" in raw:
        raise RunError("the weights are quantised already", str(folder / "config.json"), _MERGE_AGAIN + " in 16 bit")
    try:
        config = AutoConfig.from_pretrained(folder)
    except (KeyError, TypeError, ValueError, StrictDataclassError) as error:
        raise RunError(
            f"transformers refuses the config: {error}", str(folder / "config.json"), _MERGE_AGAIN
        ) from error
    files = _tensor_files(folder)
    source = Source(folder, config, files, {_plain(name): name for name in files})
    _check_tensors(source)
    _check_settings(source)
    image_settings(folder)
    return source


def read(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of the folder.

    Raises:
        RunError: there is no such file, or it holds no JSON object.
    """
    try:
        result = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{name} cannot be read: {error}", str(folder), _MERGE_AGAIN) from error
    if not isinstance(result, dict):
        raise RunError(f"{name} holds no JSON object", str(folder), _MERGE_AGAIN)
    return result


def image_settings(folder: Path) -> dict[str, Any]:
    """How the folder's processor treats an image: `image_mean`, `image_std`, and the fewest and most `pixels` of area.

    Raises:
        RunError: the folder does not say.
    """
    if (folder / "processor_config.json").is_file():
        result = read(folder, "processor_config.json").get("image_processor", {})
    else:
        result = read(folder, "preprocessor_config.json")
    size = result.get("size") or {}
    settings = {
        "image_mean": result.get("image_mean"),
        "image_std": result.get("image_std"),
        # Qwen's own folder has the older names.
        "pixels": [
            size.get("shortest_edge", result.get("min_pixels")),
            size.get("longest_edge", result.get("max_pixels")),
        ],
    }
    if any(not isinstance(value, (int, float)) for values in settings.values() for value in values or [None]):
        raise RunError("the image processor's mean, deviation or size is missing", str(folder), _MERGE_AGAIN)
    return settings


def _plain(name: str) -> str:
    # Checkpoints of several generations nest the same tensors differently.
    return name.replace("language_model.", "").replace("model.visual.", "visual.").replace("model.model.", "model.")


def _tensor_files(folder: Path) -> dict[str, Path]:
    shards = [folder / "model.safetensors"]
    if (folder / "model.safetensors.index.json").is_file():
        index = read(folder, "model.safetensors.index.json")["weight_map"]
        shards = [folder / shard for shard in sorted(set(index.values()))]
    files = {}
    for shard in shards:
        try:
            with safe_open(shard, "pt") as file:
                files.update(dict.fromkeys(file.keys(), shard))
        except (OSError, SafetensorError) as error:
            raise RunError(f"{shard.name} is missing or broken: {error}", str(folder), _MERGE_AGAIN) from error
    return files


def _check_tensors(source: Source) -> None:
    with torch.device("meta"):
        empty = Qwen2VLForConditionalGeneration(source.config)
    wanted = {_plain(name): tuple(weight.shape) for name, weight in empty.state_dict().items()}
    if source.config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    wrong = sorted(name for name, shape in wanted.items() if name not in source.names or source.shape(name) != shape)
    if wrong:
        raise RunError(
            f"{len(wrong)} of {len(wanted)} tensors are missing or of another shape, such as {', '.join(wrong[:3])}",
            str(source.folder),
            _MERGE_AGAIN,
        )


def _check_settings(source: Source) -> None:
    """llama.cpp's Qwen2-VL is written for the released one; whatever it takes for granted must be so."""
    text, vision = source.config.text_config, source.config.vision_config
    steps = (source.tokenizer.get("pre_tokenizer") or {}).get("pretokenizers", [])
    splits = [step["pattern"].get("Regex") for step in steps if step["type"] == "Split"]
    taken_for_granted = {
        "text_config.hidden_act": (text.hidden_act, "silu"),
        "text_config.use_sliding_window": (text.use_sliding_window, False),
        "text_config.rope_parameters.rope_type": (text.rope_parameters["rope_type"], "default"),
        "vision_config.hidden_act": (vision.hidden_act, "quick_gelu"),
        "vision_config.spatial_merge_size": (vision.spatial_merge_size, 2),
        "vision_config.temporal_patch_size": (vision.temporal_patch_size, 2),
        "tokenizer.json, model.type": (source.tokenizer["model"]["type"], "BPE"),
        "tokenizer.json, pre_tokenizer": (splits, [_QWEN2_SPLIT]),
    }
    for where, (result, wanted) in taken_for_granted.items():
        if result != wanted:
            raise RunError(
                f"llama.cpp's Qwen2-VL has {wanted!r} where this model has {result!r}",
                f"{source.folder}, {where}",
                "serve the merged folder with vLLM or transformers instead",
            )
