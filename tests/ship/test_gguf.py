"""The GGUF files hold what the merged folder holds, and llama.cpp says with them what transformers says without."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, Qwen2VLForConditionalGeneration

from lowmed import nano, prompt
from lowmed.data.images import Policy, prepare
from lowmed.errors import LowmedError, RunError, SetupError
from lowmed.nano import phantom
from lowmed.ship import gguf as export
from lowmed.ship.gguf_agreement import Agreement, Question, agreement

gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
Copy = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano as GGUF files."""
    out = tmp_path_factory.mktemp("gguf")
    export.write(nano.folder(), out, ("f16", "q8_0"), name="nano")
    return out


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A folder like nano, with some settings changed, given by file and dotted key."""

    def make(changes: dict[str, dict[str, Any]] | None = None) -> Path:
        folder = tmp_path / "merged"
        shutil.copytree(nano.folder(), folder)
        for name, keys in (changes or {}).items():
            content = json.loads((folder / name).read_text())
            for key, value in keys.items():
                inner = content
                *way, last = key.split(".")
                for step in way:
                    inner = inner[step]
                inner[last] = value
            (folder / name).write_text(json.dumps(content))
        return folder

    return make


def other_shape(folder: Path, text: dict[str, Any], vision: dict[str, Any] | None = None, *, tied: bool = True) -> None:
    """Replace the folder's weights by random ones of another shape."""
    config = AutoConfig.from_pretrained(folder)
    config.tie_word_embeddings = tied
    for part, changes in ((config.text_config, text), (config.vision_config, vision or {})):
        for key, value in changes.items():
            setattr(part, key, value)
    config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
    torch.manual_seed(0)
    Qwen2VLForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)


def tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The values of a GGUF file, dequantised."""
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        shape = tuple(int(side) for side in reversed(tensor.shape))
        found[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return found


def kinds(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


def fields(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def weights(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: weight.float().numpy() for name, weight in load_file(folder / "model.safetensors").items()}


def stored(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As the files hold them: matrices in F16, which has every bfloat16 but the smallest, vectors in F32."""
    if values.ndim == 1:
        return values
    assert np.abs(values - values.astype(np.float16)).max() <= 2.0**-25
    return values.astype(np.float16).astype(np.float32)


def test_f16_holds_the_language_model_to_the_bit_and_no_second_embedding(exported: Path) -> None:
    found, wanted = tensors(exported / "nano-f16.gguf"), weights(nano.folder())
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
        np.testing.assert_array_equal(found[name], stored(wanted[plain]), err_msg=name)
    assert len(found) == sum(not name.startswith("visual.") for name in wanted)
    assert "output.weight" not in found


def test_the_projector_holds_the_vision_tower_to_the_bit_in_llama_cpps_parts(exported: Path) -> None:
    found, wanted = tensors(exported / "mmproj-nano-f16.gguf"), weights(nano.folder())
    for end in ("weight", "bias"):
        fused = np.concatenate([found[f"v.blk.1.attn_{letter}.{end}"] for letter in "qkv"])
        np.testing.assert_array_equal(fused, stored(wanted[f"visual.blocks.1.attn.qkv.{end}"]))
    frames = np.stack([found["v.patch_embd.weight"], found["v.patch_embd.weight.1"]], axis=2)
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
        np.testing.assert_array_equal(found[name], stored(wanted[f"visual.{plain}"]), err_msg=name)
    vision = [name for name in wanted if name.startswith("visual.")]
    assert len(found) == len(vision) + 2 * sum(".qkv." in name for name in vision) + 1


def test_the_files_say_what_the_config_the_tokenizer_and_the_processor_say(exported: Path) -> None:
    found = fields(exported / "nano-q8_0.gguf")
    config = json.loads((nano.folder() / "config.json").read_text())
    tokenizer = json.loads((nano.folder() / "tokenizer.json").read_text())
    assert found["general.architecture"] == "qwen2vl"
    assert found["qwen2vl.rope.dimension_sections"] == [4, 6, 6, 0]
    assert found["qwen2vl.rope.freq_base"] == config["text_config"]["rope_parameters"]["rope_theta"]
    assert found["qwen2vl.attention.head_count_kv"] == config["text_config"]["num_key_value_heads"]
    assert found["tokenizer.ggml.pre"] == "qwen2"
    assert found["tokenizer.ggml.tokens"] == sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    assert found["tokenizer.ggml.merges"] == [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    assert found["tokenizer.ggml.token_type"][-8:] == [gguf.TokenType.CONTROL] * 8
    assert found["tokenizer.ggml.eos_token_id"] == config["text_config"]["eos_token_id"]
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.chat_template"] == (nano.folder() / "chat_template.jinja").read_text()
    vision = fields(exported / "mmproj-nano-f16.gguf")
    assert (vision["general.architecture"], vision["general.type"]) == ("clip", "mmproj")
    assert vision["clip.projector_type"] == "qwen2vl_merger"
    assert vision["clip.vision.feed_forward_length"] == 256
    assert vision["clip.vision.image_mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])


def test_q8_0_is_off_by_at_most_half_a_step_of_each_block(exported: Path) -> None:
    found, types = tensors(exported / "nano-q8_0.gguf"), kinds(exported / "nano-q8_0.gguf")
    wanted = weights(nano.folder())["model.layers.0.mlp.down_proj.weight"].reshape(-1, 32)
    step = np.abs(wanted).max(axis=1, keepdims=True) / 127
    assert (np.abs(found["blk.0.ffn_down.weight"].reshape(-1, 32) - wanted) <= 0.56 * step).all()  # the step is in F16
    assert set(types.values()) == {"Q8_0", "F32"}
    assert all(kind == "F32" for name, kind in types.items() if "norm" in name or name.endswith("bias"))


def test_rows_that_no_block_of_32_fits_stay_f16_in_q8_0(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    other_shape(folder, {"hidden_size": 48, "num_attention_heads": 6, "intermediate_size": 64}, {"hidden_size": 48})
    language, _ = export.write(folder, tmp_path / "out", ("q8_0",))
    types = kinds(language)
    assert types["blk.0.ffn_up.weight"] == types["token_embd.weight"] == "F16"
    assert types["blk.0.ffn_down.weight"] == "Q8_0"


def test_a_model_with_an_output_matrix_of_its_own_keeps_it(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    other_shape(folder, {"num_hidden_layers": 1}, {"depth": 1}, tied=False)
    found = tensors(export.write(folder, tmp_path / "out", ("f16",))[0])
    np.testing.assert_array_equal(found["output.weight"], stored(weights(folder)["lm_head.weight"]))


def test_a_vocabulary_smaller_than_the_embedding_is_filled_up_with_unused_tokens(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    other_shape(folder, {"vocab_size": 640, "num_hidden_layers": 1}, {"depth": 1})
    found = fields(export.write(folder, tmp_path / "out", ("f16",))[0])
    assert found["tokenizer.ggml.tokens"][599:602] == ["<|video_pad|>", "[PAD600]", "[PAD601]"]
    assert found["tokenizer.ggml.token_type"][600:] == [gguf.TokenType.UNUSED] * 40


def test_a_folder_in_shards_gives_the_same_bytes(copy: Copy, exported: Path, tmp_path: Path) -> None:
    folder = copy()
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="1MB")
    assert len(list(folder.glob("model-*.safetensors"))) > 3
    for path in export.write(folder, tmp_path / "out", name="nano"):
        assert path.read_bytes() == (exported / path.name).read_bytes()


def test_the_pixel_policy_is_told_in_tokens(copy: Copy) -> None:
    policy = Policy(256)
    edges = {"shortest_edge": policy.min_pixels, "longest_edge": policy.max_pixels}
    folder = copy({"processor_config.json": {"image_processor.size": edges}})
    assert export.image_tokens(folder) == (4, 256)
    (folder / "processor_config.json").unlink()  # an older folder
    assert export.image_tokens(folder) == (4, 1280)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config.json": {"model_type": "qwen2_5_vl"}}, "qwen2_5_vl"),
        ({"config.json": {"quantization_config": {"quant_method": "bitsandbytes"}}}, "quantised already"),
        ({"config.json": {"text_config.rope_parameters.rope_type": "dynamic"}}, "dynamic"),
        ({"config.json": {"vision_config.spatial_merge_size": 4}}, "missing or of another shape"),
        ({"config.json": {"text_config.num_hidden_layers": 5}}, "transformers refuses the config"),
        ({"config.json": {"vision_config.depth": 4}}, "missing or of another shape"),
        ({"config.json": {"vision_config.hidden_act": "gelu"}}, "quick_gelu"),
        ({"tokenizer.json": {"pre_tokenizer": {"type": "ByteLevel"}}}, "llama.cpp's Qwen2-VL has"),
        ({"processor_config.json": {"image_processor": {}}}, "mean, deviation or size"),
    ],
)
def test_what_llama_cpp_cannot_run_is_refused_with_nothing_written(
    copy: Copy, tmp_path: Path, changes: dict[str, dict[str, Any]], words: str
) -> None:
    with pytest.raises(RunError) as refused:
        export.write(copy(changes), tmp_path / "out")
    assert words in refused.value.what
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_or_broken_file_is_named_with_nothing_written(copy: Copy, tmp_path: Path, name: str) -> None:
    folder = copy()
    whole = (folder / name).read_bytes()
    for content in (whole[: len(whole) // 2], b"", None):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            export.write(folder, tmp_path / "out")
        (folder / name).touch()
    assert not (tmp_path / "out").exists()


def test_a_value_beyond_f16_ends_the_export_and_leaves_what_was_there(copy: Copy, tmp_path: Path) -> None:
    folder, out = copy(), tmp_path / "out"
    first = export.write(folder, out, ("f16",), name="nano")[0]
    before = first.read_bytes()
    state = load_file(folder / "model.safetensors")
    for value in (1e5, float("nan"), float("-inf")):
        state["model.layers.3.mlp.up_proj.weight"][0, 0] = value
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(RunError, match=r"layers\.3\.mlp\.up_proj\.weight holds values that F16 cannot hold"):
            export.write(folder, out, ("f16",), name="nano")
    assert first.read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["mmproj-nano-f16.gguf", "nano-f16.gguf"]


def test_without_the_extra_the_fix_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(SetupError) as refused:
        export.write(nano.folder(), tmp_path / "out")
    assert refused.value.fix == "pip install 'lowmed[gguf]'"


def test_without_llama_cpp_neither_q4_k_m_nor_a_comparison_is_promised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    assert not export.can_quantise()
    with pytest.raises(SetupError, match="quantiser"):
        export.write(nano.folder(), tmp_path / "out", ("q4_k_m",))
    with pytest.raises(SetupError, match="llama-cpp-python"):
        agreement(nano.folder(), tmp_path / "a", tmp_path / "b", [Question("?")])


def test_a_disk_that_is_too_small_is_told_beforehand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(SetupError, match=r"0\.0 GB are free"):
        export.write(nano.folder(), tmp_path / "out" / "deep")
    assert not (tmp_path / "out").exists()


# What follows runs llama.cpp itself.


@pytest.fixture(scope="module")
def llama() -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")


def compared(folder: Path, files: Path, kind: str, asked: list[Question], tokens: int = 40) -> Agreement:
    return agreement(folder, files / f"nano-{kind}.gguf", files / "mmproj-nano-f16.gguf", asked, max_new_tokens=tokens)


def questions(count: int, *, pictures: bool = True) -> list[Question]:
    family = prompt.family("reasoning")
    return [
        Question(
            prompt.ask(family, sample)[0]["content"][-1]["text"],
            tuple(phantom.picture(image) for image in sample.images) if pictures else (),
        )
        for sample in phantom.samples("test", count)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
@pytest.mark.parametrize("pictures", [True, False])
def test_llama_cpp_says_what_transformers_says(exported: Path, pictures: bool) -> None:
    found = compared(nano.folder(), exported, "f16", questions(12, pictures=pictures))
    assert (found.same_prompts, found.same_replies) == (12, 12), found.lines()
    assert found.tokens == found.same_tokens > 100
    assert 0 < found.drift < 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_several_pictures_in_one_prompt_keep_their_places(exported: Path) -> None:
    pictures = [phantom.picture(sample.images[0]) for sample in phantom.samples("test", 3)]
    wide = pictures[2].resize((140, 56))
    asked = [Question("Which one?", tuple(order)) for order in ((*pictures[:2], wide), (wide, *pictures[:2]))]
    found = compared(nano.folder(), exported, "f16", asked)
    assert (found.same_prompts, found.same_replies) == (2, 2), found.lines()


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_real_pictures_get_the_same_replies_when_prepared_and_not_when_llama_cpp_pads_them(
    copy: Copy, tmp_path: Path, vqa_rad: Path
) -> None:
    policy = Policy(64)
    edges = {"shortest_edge": policy.min_pixels, "longest_edge": policy.max_pixels}
    folder = copy({"processor_config.json": {"image_processor.size": edges}})
    export.write(folder, tmp_path / "out", ("f16",), name="nano")
    rows = json.loads((vqa_rad / "vqa_rad_public.json").read_text())
    asked = {row["image_name"]: row["question"] for row in rows[:60]}
    raw = [Question(text, (Image.open(vqa_rad / "images" / name),)) for name, text in asked.items()][:12]
    prepared = [Question(one.text, (prepare(one.images[0], policy),)) for one in raw]
    found = compared(folder, tmp_path / "out", "f16", prepared, 16)
    assert (found.same_prompts, found.same_replies) == (12, 12), found.lines()
    assert found.drift < 0.2
    assert compared(folder, tmp_path / "out", "f16", raw, 16).drift > 2 * found.drift


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_another_vision_tower_is_noticed_on_pictures_alone(copy: Copy, exported: Path, tmp_path: Path) -> None:
    folder = copy()
    state = load_file(folder / "model.safetensors")
    state["visual.merger.mlp.2.weight"] = state["visual.merger.mlp.2.weight"].flip(0).contiguous()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    wrong = export.write(folder, tmp_path / "out", ("f16",))[-1]
    language = exported / "nano-f16.gguf"
    seen = agreement(nano.folder(), language, wrong, questions(8), max_new_tokens=40)
    assert seen.same_replies < 8
    assert seen.drift > 1
    assert seen.same_tokens + len(seen.differences) == seen.tokens
    assert json.loads(json.dumps(seen.as_dict()))["same_prompts"] == 8
    unseen = agreement(nano.folder(), language, wrong, questions(8, pictures=False), max_new_tokens=40)
    assert unseen.same_replies == 8


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_letters_that_are_not_composed_are_split_otherwise_and_that_is_told(exported: Path) -> None:
    found = compared(nano.folder(), exported, "f16", [Question("café?"), Question("cafe\u0301?")], 4)
    assert found.same_prompts == 1  # Qwen2's tokenizer composes them first, llama.cpp does not


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_fewer_bits_agree_less_and_take_less(tmp_path: Path) -> None:
    files = export.write(nano.folder(), tmp_path, ("f16", "q8_0", "q4_k_m"), name="nano")
    drifts = [compared(nano.folder(), tmp_path, kind, questions(6)).drift for kind in ("f16", "q8_0", "q4_k_m")]
    assert drifts == sorted(drifts)
    sizes = [path.stat().st_size for path in files[:3]]
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files)


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_a_file_that_is_no_model_is_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes((exported / "nano-f16.gguf").read_bytes()[:100_000])
    language, vision = exported / "nano-f16.gguf", exported / "mmproj-nano-f16.gguf"
    for files in ((tmp_path / "broken.gguf", vision), (language, tmp_path / "none.gguf")):
        with pytest.raises(LowmedError, match="does not load"):
            agreement(nano.folder(), *files, [Question("?")], max_new_tokens=1)


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_the_released_tokenizer_and_head_sizes_agree_on_real_questions(tmp_path: Path) -> None:
    skeleton, slake = SHARED / "data" / "qwen2-vl-2b-skeleton", SHARED / "data" / "slake-text" / "train.json"
    if not skeleton.is_dir():
        pytest.skip("the released tokenizer is not at ../shared/data/qwen2-vl-2b-skeleton")
    folder = tmp_path / "merged"
    shutil.copytree(skeleton, folder)
    # Heads of 128 and 80 dimensions as released, but few of them.
    text = {"hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 256}
    other_shape(
        folder,
        {**text, "num_hidden_layers": 2},
        {"embed_dim": 160, "num_heads": 2, "hidden_size": 256, "depth": 2},
    )
    language, vision = export.write(folder, tmp_path / "out", ("f16",))
    rows = json.loads(slake.read_text(encoding="utf-8"))
    picture = phantom.picture(phantom.samples("test", 1)[0].images[0])
    hard = ["  two  spaces\n\n\tand 12345 mm, it's HE'LL 3.5×10⁻³ µg/mL 🩻", "x" * 300, "<think>\n</think>"]
    asked = [Question(row["question"], (picture,)) for row in rows[:6] + rows[-6:]] + [Question(one) for one in hard]
    found = agreement(folder, language, vision, asked, max_new_tokens=4)
    assert (found.same_prompts, found.same_replies) == (len(asked), len(asked)), found.lines()
    assert found.drift < 0.01
