"""llama.cpp with the GGUF files gives the completions of transformers with the merged folder."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import SHARED
from PIL import Image
from safetensors.torch import load_file, save_file
from ship.gguf_made import Copy, copy, exported, other_shape
from transformers import AutoModelForImageTextToText, AutoProcessor

from lowmed import nano, prompt
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.engine import chat
from lowmed.errors import LowmedError
from lowmed.nano import phantom
from lowmed.ship.gguf import agreement, export
from lowmed.ship.gguf.agreement import Agreement, PromptInput, compare
from lowmed.ship.gguf.convert import write_gguf

gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")

__all__ = ["copy", "exported"]  # fixtures


@pytest.fixture(scope="module")
def llama() -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")


def compare_nano(folder: Path, files: Path, kind: str, inputs: list[PromptInput], tokens: int = 40) -> Agreement:
    return compare(folder, files / f"nano-{kind}.gguf", files / "mmproj-nano-f16.gguf", inputs, max_new_tokens=tokens)


def questions(count: int, *, images: bool = True) -> list[PromptInput]:
    family = prompt.family("reasoning")
    return [
        PromptInput(
            prompt.build_messages(family, sample)[0]["content"][-1]["text"],
            tuple(phantom.open_image(image) for image in sample.images) if images else (),
        )
        for sample in phantom.samples("test", count)
    ]


def test_the_prompt_with_a_system_message_and_earlier_turns_is_that_of_an_evaluation() -> None:
    processor = AutoProcessor.from_pretrained(nano.folder())
    family = replace(prompt.family("reasoning"), system="You are careful.", prefill="<think>")
    sample = replace(phantom.samples("test", 1)[0], history=(("Which study?", "A CT."),))
    loaded = SimpleNamespace(samples=[sample], family=family, open_image=phantom.open_image)
    question = export._prompt_input(loaded, sample, PixelPolicy(64))  # type: ignore[arg-type]
    assert agreement._render(processor, question) == chat.render(processor, family, sample)


class TransformersAsLlama:
    """transformers behind the interface of `Llama`; the second token of the second question is changed."""

    def __init__(self, language: Path, projector: Path, context_tokens: int, image_tokens: tuple[int, int]) -> None:
        del language, projector, context_tokens
        assert image_tokens == (4, 1280)
        self.model = AutoModelForImageTextToText.from_pretrained(nano.folder(), dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(nano.folder())
        self.prompts = 0

    def __enter__(self) -> "TransformersAsLlama":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prompt(self, text: str, images: Sequence[Image.Image], image_token: int) -> tuple[list[int], Any]:
        del image_token
        self.prompts, self.steps = self.prompts + 1, 0
        text = text.replace("MARKER", "<|vision_start|><|image_pad|><|vision_end|>")
        self.inputs = dict(self.processor(text=[text], images=list(images) or None, return_tensors="pt"))
        return self.inputs["input_ids"][0].tolist(), self.logits()

    def step(self, token: int) -> Any:
        self.steps += 1
        for name, value in (("input_ids", token), ("attention_mask", 1), ("mm_token_type_ids", 0)):
            if name in self.inputs:
                self.inputs[name] = torch.cat([self.inputs[name], torch.tensor([[value]])], dim=1)
        logits = self.logits()
        if (self.prompts, self.steps) == (2, 1):
            logits[logits.argmin()] = logits.max() + 1
        return logits

    def logits(self) -> Any:
        with torch.inference_mode():
            return self.model(**self.inputs).logits[0, -1].numpy()


def test_every_difference_is_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(MARKER="MARKER", Llama=TransformersAsLlama)
    monkeypatch.setitem(sys.modules, "lowmed.ship.gguf.llama_cpp", fake)
    monkeypatch.setattr("lowmed.ship.gguf.agreement.find_spec", lambda name: name)
    result = compare(nano.folder(), Path("language"), Path("projector"), questions(3), max_new_tokens=6)
    assert (result.questions, result.same_prompts, result.same_completions) == (3, 3, 2)
    assert (result.tokens, result.same_tokens) == (18, 17)
    [difference] = result.differences
    assert (difference.question, difference.position) == (1, 1)
    assert difference.margin > 0
    assert difference.max_logit_difference == result.max_logit_difference > 1
    assert "question 1, token 1" in result.lines()[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
@pytest.mark.parametrize("images", [True, False])
def test_llama_cpp_gives_the_completions_of_transformers(exported: Path, images: bool) -> None:
    result = compare_nano(nano.folder(), exported, "f16", questions(12, images=images))
    assert (result.same_prompts, result.same_completions) == (12, 12), result.lines()
    assert result.tokens == result.same_tokens > 100
    assert 0 < result.max_logit_difference < 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_several_images_in_one_prompt_keep_their_order(exported: Path) -> None:
    images = [phantom.open_image(sample.images[0]) for sample in phantom.samples("test", 3)]
    wide = images[2].resize((140, 56))
    inputs = [PromptInput("Which one?", tuple(order)) for order in ((*images[:2], wide), (wide, *images[:2]))]
    result = compare_nano(nano.folder(), exported, "f16", inputs)
    assert (result.same_prompts, result.same_completions) == (2, 2), result.lines()


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_real_images_get_the_same_completions_if_prepared_and_others_if_llama_cpp_pads_them(
    copy: Copy, tmp_path: Path, vqa_rad: Path
) -> None:
    policy = PixelPolicy(64)
    edges = {"shortest_edge": policy.min_pixels, "longest_edge": policy.max_pixels}
    folder = copy({"processor_config.json": {"image_processor.size": edges}})
    write_gguf(folder, tmp_path / "out", ("f16",), name="nano")
    rows = json.loads((vqa_rad / "vqa_rad_public.json").read_text())
    question_of = {row["image_name"]: row["question"] for row in rows[:60]}
    raw = [PromptInput(text, (Image.open(vqa_rad / "images" / name),)) for name, text in question_of.items()][:12]
    prepared = [PromptInput(one.text, (prepare(one.images[0], policy),)) for one in raw]
    result = compare_nano(folder, tmp_path / "out", "f16", prepared, 16)
    assert (result.same_prompts, result.same_completions) == (12, 12), result.lines()
    assert result.max_logit_difference < 0.2
    assert compare_nano(folder, tmp_path / "out", "f16", raw, 16).max_logit_difference > 2 * result.max_logit_difference


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_another_vision_tower_changes_the_completions_of_images_only(
    copy: Copy, exported: Path, tmp_path: Path
) -> None:
    folder = copy()
    state = load_file(folder / "model.safetensors")
    state["visual.merger.mlp.2.weight"] = state["visual.merger.mlp.2.weight"].flip(0).contiguous()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    wrong = write_gguf(folder, tmp_path / "out", ("f16",))[-1]
    language = exported / "nano-f16.gguf"
    with_images = compare(nano.folder(), language, wrong, questions(8), max_new_tokens=40)
    assert with_images.same_completions < 8
    assert with_images.max_logit_difference > 1
    assert with_images.same_tokens + len(with_images.differences) == with_images.tokens
    assert json.loads(json.dumps(with_images.as_json()))["same_prompts"] == 8
    without_images = compare(nano.folder(), language, wrong, questions(8, images=False), max_new_tokens=40)
    assert without_images.same_completions == 8


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_decomposed_letters_are_tokenized_differently_and_reported(exported: Path) -> None:
    result = compare_nano(nano.folder(), exported, "f16", [PromptInput("café?"), PromptInput("cafe\u0301?")], 4)
    assert result.same_prompts == 1  # Qwen2's tokenizer applies NFC, llama.cpp does not


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_fewer_bits_agree_less_and_need_less_disk(tmp_path: Path) -> None:
    files = write_gguf(nano.folder(), tmp_path, ("f16", "q8_0", "q4_k_m"), name="nano")
    differences = [
        compare_nano(nano.folder(), tmp_path, kind, questions(6)).max_logit_difference
        for kind in ("f16", "q8_0", "q4_k_m")
    ]
    assert differences == sorted(differences)
    sizes = [path.stat().st_size for path in files[:3]]
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files)


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_a_truncated_or_missing_file_is_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes((exported / "nano-f16.gguf").read_bytes()[:100_000])
    language, vision = exported / "nano-f16.gguf", exported / "mmproj-nano-f16.gguf"
    for files in ((tmp_path / "broken.gguf", vision), (language, tmp_path / "none.gguf")):
        with pytest.raises(LowmedError, match="does not load"):
            compare(nano.folder(), *files, [PromptInput("?")], max_new_tokens=1)


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
    language, vision = write_gguf(folder, tmp_path / "out", ("f16",))
    rows = json.loads(slake.read_text(encoding="utf-8"))
    image = phantom.open_image(phantom.samples("test", 1)[0].images[0])
    hard = ["  two  spaces\n\n\tand 12345 mm, it's HE'LL 3.5×10⁻³ µg/mL 🩻", "x" * 300, "<think>\n</think>"]
    inputs = [PromptInput(row["question"], (image,)) for row in rows[:6] + rows[-6:]] + [
        PromptInput(one) for one in hard
    ]
    result = compare(folder, language, vision, inputs, max_new_tokens=4)
    assert (result.same_prompts, result.same_completions) == (len(inputs), len(inputs)), result.lines()
    assert result.max_logit_difference < 0.01
