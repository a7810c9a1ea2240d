"""Families whose processor resizes every image to one size: Gemma 3 (MedGemma too), InternVL3, SmolVLM2.

Their images have a fixed number of tokens, and no tiles: lowmed turns the cutting of images into tiles off. They train
with the layers of transformers and the trainers of TRL, without shared prompts and without the vision cache.
"""

from collections.abc import Mapping
from typing import Any

from lowmed.models.architecture import Architecture
from lowmed.models.family import Config, ModelFamily
from lowmed.models.text import text_dimensions

_GEMMA3_TEXT = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262_208}
_SMOLVLM_VISION = {"hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 12, "num_channels": 3}
# Published checkpoints have module names from older versions of transformers.
_RENAMED_PREFIXES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "vision_tower.": "model.vision_tower.",
    "multi_modal_projector.": "model.multi_modal_projector.",
}


def _side(value: Any) -> int:
    """The side of a square in pixels. Configs write it as a number or twice in a list."""
    return int(value[0] if isinstance(value, list | tuple) else value)


def _vision_transformer(vision: Config, tokens: int, others: int) -> Mapping[str, Any]:
    """The dimensions of a vision transformer with learned positions.

    Args:
        vision: its config.
        tokens: image tokens in the language model.
        others: parameters of the vision part outside patches, positions and blocks.
    """
    side, patch = _side(vision["image_size"]), _side(vision["patch_size"])
    patches = (side // patch) ** 2
    return {
        "vision_depth": vision["num_hidden_layers"],
        "vision_width": vision["hidden_size"],
        "vision_intermediate": vision["intermediate_size"],
        "patch_values": vision.get("num_channels", 3) * patch**2,
        "positions": patches,
        "patch_bias": True,
        "image_side": side,
        "image_tokens": tokens,
        "patches_per_token": patches // tokens,
        "vision_others": others,
    }


def _gemma3(config: Config) -> Architecture:
    text, vision = {**_GEMMA3_TEXT, **config["text_config"]}, config["vision_config"]
    width, hidden = vision["hidden_size"], text["hidden_size"]
    norm_and_projector = 2 * width + width + width * hidden
    tokens = config.get("mm_tokens_per_image", 256)
    return Architecture(
        family="gemma3",
        tied=bool(config.get("tie_word_embeddings", True)),
        vision_out=hidden,
        qk_norm=True,
        qkv_bias=False,
        layer_norms=4,
        **text_dimensions(text),
        **_vision_transformer(vision, tokens, norm_and_projector),
    )


def _internvl(config: Config) -> Architecture:
    text, vision = config["text_config"], config["vision_config"]
    width, hidden, depth = vision["hidden_size"], text["hidden_size"], vision["num_hidden_layers"]
    wide = width * int(1 / config.get("downsample_ratio", 0.5)) ** 2
    projector = 2 * wide + wide * hidden + hidden + hidden * hidden + hidden
    class_token = 2 * width  # its embedding and its position
    scales = depth * 2 * width
    missing_biases = 0 if vision.get("attention_bias") else depth * 3 * width
    return Architecture(
        family="internvl",
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        vision_out=hidden,
        **text_dimensions(text),
        **_vision_transformer(
            vision, config.get("image_seq_length", 256), projector + class_token + scales - missing_biases
        ),
    )


def _smolvlm(config: Config) -> Architecture:
    text, vision = config["text_config"], {**_SMOLVLM_VISION, **config["vision_config"]}
    width, hidden, scale = vision["hidden_size"], text["hidden_size"], config.get("scale_factor", 2)
    patches = (_side(vision["image_size"]) // _side(vision["patch_size"])) ** 2
    norm_and_connector = 2 * width + width * scale**2 * hidden
    return Architecture(
        family="smolvlm",
        tied=bool(config.get("tie_word_embeddings", False)),
        vision_out=hidden,
        qkv_bias=False,
        **text_dimensions(text),
        **_vision_transformer(vision, patches // scale**2, norm_and_connector),
    )


GEMMA3 = ModelFamily(
    model_type="gemma3",
    title="Gemma 3",
    architecture=_gemma3,
    vision_tower="model.vision_tower",
    keep_16bit=("lm_head", "model.vision_tower", "model.multi_modal_projector"),
    never_sampled=("<start_of_turn>", "<start_of_image>", "<image_soft_token>", "<end_of_image>"),
    image_placeholder="<start_of_image>",
    image_pad="<image_soft_token>",
    image_settings={"do_pan_and_scan": False},
    fp16=False,  # it overflows: https://github.com/huggingface/transformers/issues/36822
    renamed_prefixes=_RENAMED_PREFIXES,
)
INTERNVL = ModelFamily(
    model_type="internvl",
    title="InternVL3",
    architecture=_internvl,
    vision_tower="model.vision_tower",
    keep_16bit=("lm_head", "model.vision_tower", "model.multi_modal_projector"),
    never_sampled=("<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
    image_placeholder="<IMG_CONTEXT>",
    image_pad="<IMG_CONTEXT>",
    # transformers 5.17 ignores `crop_to_patches` of the folder. One tile is the image itself.
    image_settings={"crop_to_patches": False, "min_patches": 1, "max_patches": 1},
    renamed_prefixes=_RENAMED_PREFIXES,
)
SMOLVLM = ModelFamily(
    model_type="smolvlm",
    title="SmolVLM2",
    architecture=_smolvlm,
    language_model="model.text_model",
    vision_tower="model.vision_model",
    keep_16bit=("lm_head", "model.vision_model", "model.connector"),
    never_sampled=("<|im_start|>", "<image>", "<fake_token_around_image>", "<global-img>"),
    image_placeholder="<image>",
    image_pad="<image>",
    image_settings={"do_image_splitting": False},
    processor_packages=("num2words",),
)
