"""Text-only families: Llama (SmolLM2 too), Qwen2 and Qwen2.5, Qwen3."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from lowmed.models.architecture import Architecture
from lowmed.models.family import Config, ModelFamily


def text_dimensions(config: Config) -> Mapping[str, Any]:
    """The dimensions of the language model, under the names that all families use."""
    kv_heads = config.get("num_key_value_heads")
    return {
        "hidden": config["hidden_size"],
        "intermediate": config["intermediate_size"],
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "kv_heads": config["num_attention_heads"] if kv_heads is None else kv_heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        "vocabulary": config["vocab_size"],
    }


def _architecture(config: Config, **differences: Any) -> Architecture:
    return Architecture(tied=bool(config.get("tie_word_embeddings", False)), **text_dimensions(config), **differences)


def _family(model_type: str, title: str, **dimensions: Any) -> ModelFamily:
    return ModelFamily(
        model_type=model_type,
        title=title,
        architecture=partial(_architecture, family=model_type, **dimensions),
        language_model="model",
        vision_tower="",
        keep_16bit=("lm_head",),
        shared_prefix=True,
        gguf_architecture=model_type,
    )


LLAMA = _family("llama", "Llama", qkv_bias=False)
QWEN2 = _family("qwen2", "Qwen2 and Qwen2.5")
QWEN3 = _family("qwen3", "Qwen3", qk_norm=True, qkv_bias=False)
