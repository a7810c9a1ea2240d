"""The Qwen-VL families: Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

from typing import Any

from lowmed.models.architecture import Architecture
from lowmed.models.family import Config, ModelFamily
from lowmed.models.text import text_dimensions

# Published checkpoints of Qwen2-VL and Qwen2.5-VL have module names from older versions of transformers.
RENAMED_PREFIXES = {
    "visual.": "model.visual.",
    "model.layers.": "model.language_model.layers.",
    "model.norm.": "model.language_model.norm.",
    "model.embed_tokens.": "model.language_model.embed_tokens.",
}
NEVER_SAMPLED = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
IMAGE_PLACEHOLDER = "<|vision_start|><|image_pad|><|vision_end|>"


def _architecture(config: Config, **differences: Any) -> Architecture:
    """The architecture from the fields that all three families share, and `differences`."""
    text: Config = config.get("text_config") or config
    vision: Config = config["vision_config"]
    patch = vision["patch_size"] ** 2 * vision.get("temporal_patch_size", 2)
    return Architecture(
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        vision_depth=vision["depth"],
        patch_values=vision.get("in_channels", vision.get("in_chans", 3)) * patch,
        **text_dimensions(text),
        **differences,
    )


def _qwen2_vl(config: Config) -> Architecture:
    vision = config["vision_config"]
    width = vision["embed_dim"]
    return _architecture(
        config,
        family="qwen2_vl",
        vision_width=width,
        vision_intermediate=round(width * vision.get("mlp_ratio", 4)),
        vision_out=vision["hidden_size"],
    )


def _qwen2_5_vl(config: Config) -> Architecture:
    vision = config["vision_config"]
    return _architecture(
        config,
        family="qwen2_5_vl",
        vision_width=vision["hidden_size"],
        vision_intermediate=vision["intermediate_size"],
        vision_out=vision["out_hidden_size"],
        gated_vision=True,
    )


def _qwen3_vl(config: Config) -> Architecture:
    vision = config["vision_config"]
    return _architecture(
        config,
        family="qwen3_vl",
        vision_width=vision["hidden_size"],
        vision_intermediate=vision["intermediate_size"],
        vision_out=vision["out_hidden_size"],
        positions=vision.get("num_position_embeddings", 0),
        deepstack=len(vision.get("deepstack_visual_indexes", ())),
        qk_norm=True,
        qkv_bias=False,
        patch_bias=True,
    )


QWEN2_VL = ModelFamily(
    model_type="qwen2_vl",
    title="Qwen2-VL",
    architecture=_qwen2_vl,
    never_sampled=NEVER_SAMPLED,
    image_placeholder=IMAGE_PLACEHOLDER,
    image_pad="<|image_pad|>",
    shared_prefix=True,
    vision_cache=True,
    gguf_architecture="qwen2vl",
    gguf_projector="qwen2vl_merger",
    renamed_prefixes=RENAMED_PREFIXES,
)
QWEN2_5_VL = ModelFamily(
    model_type="qwen2_5_vl",
    title="Qwen2.5-VL",
    architecture=_qwen2_5_vl,
    boxes_in_pixels=True,
    never_sampled=NEVER_SAMPLED,
    image_placeholder=IMAGE_PLACEHOLDER,
    image_pad="<|image_pad|>",
    shared_prefix=True,
    vision_cache=True,
    renamed_prefixes=RENAMED_PREFIXES,
)
QWEN3_VL = ModelFamily(
    model_type="qwen3_vl",
    title="Qwen3-VL",
    architecture=_qwen3_vl,
    token_side=32,
    never_sampled=NEVER_SAMPLED,
    image_placeholder=IMAGE_PLACEHOLDER,
    image_pad="<|image_pad|>",
    shared_prefix=True,
    vision_cache=True,
)
