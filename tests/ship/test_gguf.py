"""The GGUF files hold the values of the merged folder."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from ship.gguf_made import Copy, copy, exported, other_shape
from transformers import Qwen2VLForConditionalGeneration

from lowmed import nano
from lowmed.data.image.policy import PixelPolicy
from lowmed.errors import RunError, SetupError
from lowmed.ship.gguf.agreement import PromptInput, compare
from lowmed.ship.gguf.convert import can_quantize, image_token_limits, write_gguf

gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")

__all__ = ["copy", "exported"]  # fixtures


def tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The dequantized values of a GGUF file."""
    result = {}
    for tensor in gguf.GGUFReader(path).tensors:
        shape = tuple(int(side) for side in reversed(tensor.shape))
        result[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return result


def kinds(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


def fields(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def weights(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: weight.float().numpy() for name, weight in load_file(folder / "model.safetensors").items()}


def stored(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values in the files: matrices in F16, which holds every bfloat16 but the smallest, vectors in F32."""
    if values.ndim == 1:
        return values
    assert np.abs(values - values.astype(np.float16)).max() <= 2.0**-25
    return values.astype(np.float16).astype(np.float32)


def test_f16_holds_the_exact_language_model_and_no_second_embedding(exported: Path) -> None:
    result, wanted = tensors(exported / "nano-f16.gguf"), weights(nano.folder())
    pairs = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "blk.3.attn_norm.weight": "model.layers.3.input_layernorm.weight",
        "blk.3.ffn_norm.weight": "model.layers.3.post_attention_layernorm.weight",
        "blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight",
        "blk.0.attn_k.bias": "model.layers.0.self_attn.k_proj.bias",
        "blk.1.attn_v.weight": "model.layers.1.self_attn.v_proj.weight",
        "blk.1.attn_output.weight": "model.layers.1.self_attn.o_proj.weight",
        "blk.2.ffn_gate.weight": "model.layers.2.mlp.gate_proj.weight",
        "blk.2.ffn_up.weight": "model.layers.2.mlp.up_proj.weight",
        "blk.2.ffn_down.weight": "model.layers.2.mlp.down_proj.weight",
    }
    for name, plain in pairs.items():
        np.testing.assert_array_equal(result[name], stored(wanted[plain]), err_msg=name)
    assert len(result) == sum(not name.startswith("visual.") for name in wanted)
    assert "output.weight" not in result


def test_the_projector_holds_the_exact_vision_tower_split_as_llama_cpp_requires(exported: Path) -> None:
    result, wanted = tensors(exported / "mmproj-nano-f16.gguf"), weights(nano.folder())
    for end in ("weight", "bias"):
        fused = np.concatenate([result[f"v.blk.1.attn_{letter}.{end}"] for letter in "qkv"])
        np.testing.assert_array_equal(fused, stored(wanted[f"visual.blocks.1.attn.qkv.{end}"]))
    frames = np.stack([result["v.patch_embd.weight"], result["v.patch_embd.weight.1"]], axis=2)
    np.testing.assert_array_equal(frames, stored(wanted["visual.patch_embed.proj.weight"]))
    for name, plain in {
        "v.blk.0.ln1.weight": "blocks.0.norm1.weight",
        "v.blk.0.ln2.bias": "blocks.0.norm2.bias",
        "v.blk.2.attn_out.weight": "blocks.2.attn.proj.weight",
        "v.blk.2.ffn_up.weight": "blocks.2.mlp.fc1.weight",
        "v.blk.2.ffn_down.weight": "blocks.2.mlp.fc2.weight",
        "v.post_ln.weight": "merger.ln_q.weight",
        "mm.0.weight": "merger.mlp.0.weight",
        "mm.2.bias": "merger.mlp.2.bias",
    }.items():
        np.testing.assert_array_equal(result[name], stored(wanted[f"visual.{plain}"]), err_msg=name)
    vision = [name for name in wanted if name.startswith("visual.")]
    assert len(result) == len(vision) + 2 * sum(".qkv." in name for name in vision) + 1


def test_the_metadata_equals_config_tokenizer_and_processor(exported: Path) -> None:
    result = fields(exported / "nano-q8_0.gguf")
    config = json.loads((nano.folder() / "config.json").read_text())
    tokenizer = json.loads((nano.folder() / "tokenizer.json").read_text())
    assert result["general.architecture"] == "qwen2vl"
    assert result["qwen2vl.rope.dimension_sections"] == [4, 6, 6, 0]
    assert result["qwen2vl.rope.freq_base"] == config["text_config"]["rope_parameters"]["rope_theta"]
    assert result["qwen2vl.attention.head_count_kv"] == config["text_config"]["num_key_value_heads"]
    assert result["tokenizer.ggml.pre"] == "qwen2"
    assert result["tokenizer.ggml.tokens"] == sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    assert result["tokenizer.ggml.merges"] == [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    assert result["tokenizer.ggml.token_type"][-8:] == [gguf.TokenType.CONTROL] * 8
    assert result["tokenizer.ggml.eos_token_id"] == config["text_config"]["eos_token_id"]
    assert result["tokenizer.ggml.add_bos_token"] is False
    assert result["tokenizer.chat_template"] == (nano.folder() / "chat_template.jinja").read_text()
    vision = fields(exported / "mmproj-nano-f16.gguf")
    assert (vision["general.architecture"], vision["general.type"]) == ("clip", "mmproj")
    assert vision["clip.projector_type"] == "qwen2vl_merger"
    assert vision["clip.vision.feed_forward_length"] == 256
    assert vision["clip.vision.image_mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])


def test_q8_0_differs_by_at_most_half_a_step_of_each_block(exported: Path) -> None:
    result, types = tensors(exported / "nano-q8_0.gguf"), kinds(exported / "nano-q8_0.gguf")
    wanted = weights(nano.folder())["model.layers.0.mlp.down_proj.weight"].reshape(-1, 32)
    step = np.abs(wanted).max(axis=1, keepdims=True) / 127
    assert (np.abs(result["blk.0.ffn_down.weight"].reshape(-1, 32) - wanted) <= 0.56 * step).all()  # scale in F16
    assert set(types.values()) == {"Q8_0", "F32"}
    assert all(kind == "F32" for name, kind in types.items() if "norm" in name or name.endswith("bias"))


def test_rows_not_divisible_by_32_stay_f16_in_q8_0(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    other_shape(folder, {"hidden_size": 48, "num_attention_heads": 6, "intermediate_size": 64}, {"hidden_size": 48})
    language, _ = write_gguf(folder, tmp_path / "out", ("q8_0",))
    types = kinds(language)
    assert types["blk.0.ffn_up.weight"] == types["token_embd.weight"] == "F16"
    assert types["blk.0.ffn_down.weight"] == "Q8_0"


def test_an_untied_output_matrix_is_kept(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    other_shape(folder, {"num_hidden_layers": 1}, {"depth": 1}, tied=False)
    result = tensors(write_gguf(folder, tmp_path / "out", ("f16",))[0])
    np.testing.assert_array_equal(result["output.weight"], stored(weights(folder)["lm_head.weight"]))


def test_a_vocabulary_smaller_than_the_embedding_is_padded_with_unused_tokens(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    other_shape(folder, {"vocab_size": 640, "num_hidden_layers": 1}, {"depth": 1})
    result = fields(write_gguf(folder, tmp_path / "out", ("f16",))[0])
    assert result["tokenizer.ggml.tokens"][599:602] == ["<|video_pad|>", "[PAD600]", "[PAD601]"]
    assert result["tokenizer.ggml.token_type"][600:] == [gguf.TokenType.UNUSED] * 40


def test_a_sharded_folder_gives_the_same_bytes(copy: Copy, exported: Path, tmp_path: Path) -> None:
    folder = copy()
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="1MB")
    assert len(list(folder.glob("model-*.safetensors"))) > 3
    for path in write_gguf(folder, tmp_path / "out", name="nano"):
        assert path.read_bytes() == (exported / path.name).read_bytes()


def test_the_pixel_policy_is_converted_to_tokens(copy: Copy) -> None:
    policy = PixelPolicy(256)
    edges = {"shortest_edge": policy.min_pixels, "longest_edge": policy.max_pixels}
    folder = copy({"processor_config.json": {"image_processor.size": edges}})
    assert image_token_limits(folder) == (4, 256)
    (folder / "processor_config.json").unlink()  # an older folder
    assert image_token_limits(folder) == (4, 1280)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config.json": {"model_type": "qwen2_5_vl"}}, "qwen2_5_vl"),
        ({"config.json": {"quantization_config": {"quant_method": "bitsandbytes"}}}, "already quantized"),
        ({"config.json": {"text_config.rope_parameters.rope_type": "dynamic"}}, "dynamic"),
        ({"config.json": {"vision_config.spatial_merge_size": 4}}, "requires 2, this model has 4"),
        ({"config.json": {"text_config.num_hidden_layers": 5}}, "transformers rejects the config"),
        ({"config.json": {"vision_config.depth": 4}}, "missing or have another shape"),
        ({"config.json": {"vision_config.hidden_act": "gelu"}}, "quick_gelu"),
        ({"tokenizer.json": {"pre_tokenizer": {"type": "ByteLevel"}}}, "supports the pre-tokenizers qwen2, "),
        ({"processor_config.json": {"image_processor": {}}}, "mean, standard deviation or size"),
    ],
)
def test_a_model_that_llama_cpp_cannot_run_is_refused_and_nothing_is_written(
    copy: Copy, tmp_path: Path, changes: dict[str, dict[str, Any]], words: str
) -> None:
    with pytest.raises(RunError) as refused:
        write_gguf(copy(changes), tmp_path / "out")
    assert words in refused.value.what
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_or_damaged_file_is_named_and_nothing_is_written(copy: Copy, tmp_path: Path, name: str) -> None:
    folder = copy()
    intact = (folder / name).read_bytes()
    for content in (intact[: len(intact) // 2], b"", None):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            write_gguf(folder, tmp_path / "out")
        (folder / name).touch()
    assert not (tmp_path / "out").exists()


def test_a_value_beyond_f16_stops_the_export_and_keeps_earlier_files(copy: Copy, tmp_path: Path) -> None:
    folder, out = copy(), tmp_path / "out"
    first = write_gguf(folder, out, ("f16",), name="nano")[0]
    before = first.read_bytes()
    state = load_file(folder / "model.safetensors")
    for value in (1e5, float("nan"), float("-inf")):
        state["model.layers.3.mlp.up_proj.weight"][0, 0] = value
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(RunError, match=r"layers\.3\.mlp\.up_proj\.weight holds values that F16 cannot represent"):
            write_gguf(folder, out, ("f16",), name="nano")
    assert first.read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["mmproj-nano-f16.gguf", "nano-f16.gguf"]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(SetupError) as refused:
        write_gguf(nano.folder(), tmp_path / "out")
    assert refused.value.fix == "pip install 'lowmed[gguf]'"


def test_q4_k_m_and_the_comparison_require_llama_cpp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    assert not can_quantize()
    with pytest.raises(SetupError, match="quantizer"):
        write_gguf(nano.folder(), tmp_path / "out", ("q4_k_m",))
    with pytest.raises(SetupError, match="llama-cpp-python"):
        compare(nano.folder(), tmp_path / "a", tmp_path / "b", [PromptInput("?")])


def test_insufficient_disk_is_reported_before_writing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(SetupError, match=r"0\.0 GB are free"):
        write_gguf(nano.folder(), tmp_path / "out" / "deep")
    assert not (tmp_path / "out").exists()
