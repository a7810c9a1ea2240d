"""Write GGUF files, language model and projector: metadata for llama.cpp, then the tensors, one at a time in memory."""

from pathlib import Path
from typing import Any

import gguf
from gguf import LlamaFileType

from lowmed.ship.gguf.source import GgufSource
from lowmed.ship.gguf.tensors import GgufTensor, architecture

# Epsilon of the vision tower's layer norms, which Qwen2-VL's config does not hold.
_VISION_EPS = 1e-6
# llama.cpp requires a square size although this tower takes any. Its converter writes this value; nothing reads it.
_IMAGE_SIDE_PX = 560


def write_language(source: GgufSource, tensors: list[GgufTensor], path: Path, name: str, kind: LlamaFileType) -> None:
    """Write the language model with its tokenizer and chat template."""
    text = source.text
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture(source)])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(kind)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_freq_base(text.rope_parameters["rope_theta"])
    if source.family.text_only:
        writer.add_vocab_size(text.vocab_size)
        writer.add_key_length(source.head_dim)
        writer.add_value_length(source.head_dim)
        writer.add_rope_dimension_count(source.head_dim)
    else:
        # Time, height, width, and a fourth section for other models.
        writer.add_rope_dimension_sections([*text.rope_parameters["mrope_section"], 0])
    _add_tokenizer(writer, source)
    _write(writer, source, tensors)


def write_projector(source: GgufSource, tensors: list[GgufTensor], path: Path, name: str) -> None:
    """Write the vision tower and its merger, with the normalization of images."""
    vision = source.config.vision_config
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.MMPROJ])
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_name(name)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(source.family.gguf_projector)
    writer.add_vision_projection_dim(source.config.text_config.hidden_size)
    writer.add_vision_image_size(_IMAGE_SIDE_PX)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_spatial_merge_size(vision.spatial_merge_size)
    writer.add_vision_embedding_length(vision.embed_dim)
    writer.add_vision_feed_forward_length(vision.embed_dim * vision.mlp_ratio)
    writer.add_vision_block_count(vision.depth)
    writer.add_vision_head_count(vision.num_heads)
    writer.add_vision_attention_layernorm_eps(_VISION_EPS)
    writer.add_vision_image_mean(source.images["image_mean"])
    writer.add_vision_image_std(source.images["image_std"])
    _write(writer, source, tensors)


def _add_tokenizer(writer: gguf.GGUFWriter, source: GgufSource) -> None:
    tokens: dict[int, tuple[str, int]] = {
        token_id: (text, gguf.TokenType.NORMAL) for text, token_id in source.tokenizer["model"]["vocab"].items()
    }
    for added in source.tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]] = (added["content"], kind)
    size = source.text.vocab_size  # the published embedding has more rows than there are tokens
    padded = [tokens.get(number, (f"[PAD{number}]", gguf.TokenType.UNUSED)) for number in range(size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(source.pre_tokenizer)
    writer.add_token_list([text for text, _ in padded])
    writer.add_token_types([kind for _, kind in padded])
    special = gguf.SpecialVocab(source.folder, load_merges=True, n_vocab=size)
    special.add_special_token["bos"] = source.adds_start_token
    special.add_to_gguf(writer, quiet=True)


def _write(writer: Any, source: GgufSource, tensors: list[GgufTensor]) -> None:
    for tensor in tensors:
        writer.add_tensor_info(tensor.name, tensor.shape, None, tensor.bytes, tensor.kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(tensor.values(source))
    finally:
        writer.close()
