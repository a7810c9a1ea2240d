"""Tiny models of each family with random weights, as folders that lowmed loads like a downloaded model."""

import json
import shutil
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
