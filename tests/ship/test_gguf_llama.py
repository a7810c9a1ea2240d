"""llama.cpp says with the GGUF files what transformers says without."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import SHARED
from PIL import Image
from safetensors.torch import load_file, save_file
from ship.gguf_made import Copy, copy, exported, other_shape

from lowmed import nano, prompt
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.errors import LowmedError
from lowmed.nano import phantom
from lowmed.ship.gguf import export
from lowmed.ship.gguf.agreement import Agreement, Question, agreement

gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")

__all__ = ["copy", "exported"]  # fixtures


@pytest.fixture(scope="module")
def llama() -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")


def compared(folder: Path, files: Path, kind: str, asked: list[Question], tokens: int = 40) -> Agreement:
    return agreement(folder, files / f"nano-{kind}.gguf", files / "mmproj-nano-f16.gguf", asked, max_new_tokens=tokens)


def questions(count: int, *, images: bool = True) -> list[Question]:
    family = prompt.family("reasoning")
    return [
        Question(
            prompt.build_messages(family, sample)[0]["content"][-1]["text"],
            tuple(phantom.picture(image) for image in sample.images) if images else (),
        )
        for sample in phantom.samples("test", count)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
@pytest.mark.parametrize("images", [True, False])
def test_llama_cpp_says_what_transformers_says(exported: Path, images: bool) -> None:
    result = compared(nano.folder(), exported, "f16", questions(12, images=images))
    assert (result.same_prompts, result.same_replies) == (12, 12), result.lines()
    assert result.tokens == result.same_tokens > 100
    assert 0 < result.drift < 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_several_pictures_in_one_prompt_keep_their_places(exported: Path) -> None:
    images = [phantom.picture(sample.images[0]) for sample in phantom.samples("test", 3)]
    wide = images[2].resize((140, 56))
    asked = [Question("Which one?", tuple(order)) for order in ((*images[:2], wide), (wide, *images[:2]))]
    result = compared(nano.folder(), exported, "f16", asked)
    assert (result.same_prompts, result.same_replies) == (2, 2), result.lines()


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_real_pictures_get_the_same_replies_when_prepared_and_not_when_llama_cpp_pads_them(
    copy: Copy, tmp_path: Path, vqa_rad: Path
) -> None:
    policy = PixelPolicy(64)
    edges = {"shortest_edge": policy.min_pixels, "longest_edge": policy.max_pixels}
    folder = copy({"processor_config.json": {"image_processor.size": edges}})
    export.write(folder, tmp_path / "out", ("f16",), name="nano")
    rows = json.loads((vqa_rad / "vqa_rad_public.json").read_text())
    asked = {row["image_name"]: row["question"] for row in rows[:60]}
    raw = [Question(text, (Image.open(vqa_rad / "images" / name),)) for name, text in asked.items()][:12]
    prepared = [Question(one.text, (prepare(one.images[0], policy),)) for one in raw]
    result = compared(folder, tmp_path / "out", "f16", prepared, 16)
    assert (result.same_prompts, result.same_replies) == (12, 12), result.lines()
    assert result.drift < 0.2
    assert compared(folder, tmp_path / "out", "f16", raw, 16).drift > 2 * result.drift


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
    unseen = agreement(nano.folder(), language, wrong, questions(8, images=False), max_new_tokens=40)
    assert unseen.same_replies == 8


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_letters_that_are_not_composed_are_split_otherwise_and_that_is_told(exported: Path) -> None:
    result = compared(nano.folder(), exported, "f16", [Question("café?"), Question("cafe\u0301?")], 4)
    assert result.same_prompts == 1  # Qwen2's tokenizer composes them first, llama.cpp does not


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
    image = phantom.picture(phantom.samples("test", 1)[0].images[0])
    hard = ["  two  spaces\n\n\tand 12345 mm, it's HE'LL 3.5×10⁻³ µg/mL 🩻", "x" * 300, "<think>\n</think>"]
    asked = [Question(row["question"], (image,)) for row in rows[:6] + rows[-6:]] + [Question(one) for one in hard]
    result = agreement(folder, language, vision, asked, max_new_tokens=4)
    assert (result.same_prompts, result.same_replies) == (len(asked), len(asked)), result.lines()
    assert result.drift < 0.01
