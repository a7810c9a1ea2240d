"""Tiny models of each family with random weights, as folders that lowmed loads like a downloaded model."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from lowmed import nano

# Its config classes, and what a config of each needs besides the sizes. All have the tokenizer of nano.
TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 600, "max_position_embeddings": 4096,
        "bos_token_id": 592, "eos_token_id": 594, "pad_token_id": 592}  # fmt: skip
IDS = {"image_token_id": 598, "video_token_id": 599, "vision_start_token_id": 595, "vision_end_token_id": 596}
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
SIGLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": 56, "patch_size": 14}  # fmt: skip


@dataclass(frozen=True)
class FixedSize:
    """What the folder of a model needs whose images all have one size.

    Attributes:
        tokens: new tokens, from id 600 on.
        named: name that the processor gives to a token -> the token.
        template: the chat template: text of an image, start and end of a turn, the assistant's name, start of a chat.
        processor: processor_config.json.
        images: preprocessor_config.json.
        end: the token that ends a turn.
        start: the token that the tokenizer itself writes at the start of every text.
    """

    tokens: tuple[str, ...]
    named: dict[str, str]
    template: tuple[str, str, str, str, str]
    processor: dict[str, Any]
    images: dict[str, Any]
    end: str
    start: str = ""


SQUARE = {"do_resize": True, "do_rescale": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
FIXED_SIZE = {
    "gemma3": FixedSize(
        ("<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<image_soft_token>", "<end_of_image>"),
        {"boi_token": "<start_of_image>", "image_token": "<image_soft_token>", "eoi_token": "<end_of_image>"},
        ("<start_of_image>", "<start_of_turn>", "<end_of_turn>\\n", "model", "<bos>"),
        {"processor_class": "Gemma3Processor", "image_seq_length": 4},
        {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 56, "width": 56}, **SQUARE},
        "<end_of_turn>",
        "<bos>",
    ),
    "internvl": FixedSize(
        ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
         "video_token": "<video>"},
        ("<IMG_CONTEXT>\\n", "<|im_start|>", "<|im_end|>\\n", "assistant", ""),
        {"processor_class": "InternVLProcessor", "image_seq_length": 4},
        {"image_processor_type": "GotOcr2ImageProcessor", "size": {"height": 56, "width": 56}, "min_patches": 1,
         "max_patches": 12, "crop_to_patches": False, **SQUARE},
        "<|im_end|>",
    ),
    "smolvlm": FixedSize(
        ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>"),
        {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>",
         "global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>",
         "video_token": "<video>"},
        ("<image>", "<|im_start|>", "<end_of_utterance>\\n", "assistant", ""),
        {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
        {"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 224}, "do_image_splitting": True,
         "max_image_size": {"longest_edge": 56}, "do_pad": True, "do_convert_rgb": True, **SQUARE},
        "<end_of_utterance>",
    ),
}  # fmt: skip


def config(model_type: str) -> Any:
    """A small config of the family's own class."""
    if model_type == "qwen2_5_vl":
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
                  "fullatt_block_indexes": [1]}  # fmt: skip
        return transformers.Qwen2_5_VLConfig(
            text_config={**TEXT, "rope_parameters": MROPE}, vision_config=vision, **IDS
        )
    if model_type == "qwen3_vl":
        vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
                  "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64}  # fmt: skip
        text = {**TEXT, "head_dim": 16, "rope_parameters": {**MROPE, "mrope_interleaved": True}}
        return transformers.Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **IDS)
    if model_type in ("llama", "qwen2", "qwen3"):
        text = transformers.AutoConfig.for_model(model_type).__class__
        return text(**TEXT, head_dim=16, tie_word_embeddings=True)
    vocabulary = {"vocab_size": 608, "eos_token_id": 592, "pad_token_id": 592}
    if model_type == "gemma3":
        text = {**TEXT, **vocabulary, "head_dim": 16, "bos_token_id": 600, "sliding_window": 32,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}  # fmt: skip
        return transformers.Gemma3Config(
            text_config=text, vision_config=SIGLIP, mm_tokens_per_image=4, boi_token_index=603, eoi_token_index=605,
            image_token_index=604, image_token_id=604, eos_token_id=[592, 602],
        )  # fmt: skip
    if model_type == "internvl":
        vision = {**SIGLIP, "image_size": [56, 56], "patch_size": [14, 14], "attention_bias": True}
        text = {**TEXT, **vocabulary, "model_type": "qwen2"}
        return transformers.InternVLConfig(
            text_config=text, vision_config=vision, image_token_id=602, image_seq_length=4, tie_word_embeddings=False
        )
    if model_type == "smolvlm":
        text = {**TEXT, **vocabulary, "model_type": "llama", "head_dim": 16}
        return transformers.SmolVLMConfig(
            text_config=text, vision_config=SIGLIP, image_token_id=600, scale_factor=2, pad_token_id=592
        )
    raise ValueError(model_type)


def save(model_type: str, folder: Path, seed: int = 0) -> Path:
    """Write a model with random weights, its processor and its tokenizer to a folder, and return the folder."""
    torch.manual_seed(seed)
    made = config(model_type)
    vision = hasattr(made, "vision_config")
    auto = transformers.AutoModelForImageTextToText if vision else transformers.AutoModelForCausalLM
    auto.from_config(made, dtype=torch.float32).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copyfile(nano.folder() / name, folder / name)
    if model_type in FIXED_SIZE:
        _save_fixed_size(FIXED_SIZE[model_type], folder)
        return folder
    for name in ("preprocessor_config.json", "processor_config.json") if vision else ():
        settings = json.loads((nano.folder() / name).read_text())
        if model_type == "qwen3_vl":
            for part in (settings, settings.get("image_processor", {}), settings.get("video_processor", {})):
                part |= {"patch_size": 16} if "patch_size" in part else {}
            settings |= {"processor_class": "Qwen3VLProcessor"} if "processor_class" in settings else {}
        if model_type == "qwen2_5_vl":
            settings |= {"processor_class": "Qwen2_5_VLProcessor"} if "processor_class" in settings else {}
        (folder / name).write_text(json.dumps(settings))
    return folder


def _save_fixed_size(parts: FixedSize, folder: Path) -> None:
    """Write the tokenizer with the family's own tokens, the chat template and the settings of the processor."""
    image, start, end, assistant, first = parts.template
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] += [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for number, token in enumerate(parts.tokens, 600)
    ]  # fmt: skip
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    ends = [592, *(number for number, token in enumerate(parts.tokens, 600) if token == parts.end)]
    if parts.start:
        start_token = {"SpecialToken": {"id": parts.start, "type_id": 0}}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        tokenizer["post_processor"]["single"] = [start_token, text]
        tokenizer["post_processor"]["special_tokens"] = {
            parts.start: {"id": parts.start, "ids": [600], "tokens": [parts.start]}
        }
        settings["bos_token"] = parts.start
    for name in ("image_token", "video_token", "vision_bos_token", "vision_eos_token"):
        settings.pop(name, None)
    settings |= {"processor_class": parts.processor["processor_class"], "tokenizer_class": "PreTrainedTokenizerFast",
                 "extra_special_tokens": parts.named, "eos_token": parts.end}  # fmt: skip
    template = (
        f"{{{{ '{first}' }}}}{{% for message in messages %}}{{{{ '{start}' }}}}"
        f"{{{{ '{assistant}' if message.role == 'assistant' else message.role }}}}{{{{ '\\n' }}}}"
        "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
        f"{{% if part.type == 'image' %}}{{{{ '{image}' }}}}{{% else %}}{{{{ part.text }}}}{{% endif %}}"
        f"{{% endfor %}}{{% endif %}}{{{{ '{end}' }}}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ '{start}{assistant}\\n' }}}}{{% endif %}}"
    )
    generation = {"eos_token_id": ends, "pad_token_id": 592, "do_sample": False}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "preprocessor_config.json").write_text(
        json.dumps(parts.images | {"processor_class": parts.processor["processor_class"]})
    )
    (folder / "processor_config.json").write_text(json.dumps(parts.processor))
