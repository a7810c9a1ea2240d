"""The embedded model: its files, its tokenizer, its build record and its accuracy."""

import ast
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lowmed import nano, prompt
from lowmed.nano import build, measure, model, phantom


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

    return (
        Qwen2VLForConditionalGeneration.from_pretrained(nano.folder()),
        AutoProcessor.from_pretrained(nano.folder()),
    )


def record() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((nano.folder() / "build.json").read_text())
    return result


def test_the_folder_is_small_without_pickles_or_paths_of_the_build_machine() -> None:
    files = [file for file in nano.folder().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 8_000_000
    assert {file.suffix for file in files} == {".json", ".jinja", ".safetensors"}
    texts = [file.read_text() for file in files if file.suffix == ".json"]
    builder = (tempfile.gettempdir() + "/", str(Path.home()) + "/", str(nano.folder().parent))
    assert not [text for text in texts if any(path in text for path in builder)]


def test_the_package_and_phantom_do_not_load_torch() -> None:
    code = (
        "import sys; from lowmed import nano; from lowmed.nano import phantom, model, teach, measure, build;"
        "phantom.open_image('phantom/test/0/0'); nano.folder();"
        "sys.exit(bool({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_the_weights_were_built_by_this_code_on_this_data() -> None:
    assert record()["base"] == "shortcut"
    assert record()["recipe"] == build.recipe_digest("shortcut"), "rebuild: python -m lowmed.nano.build"
    assert record()["data"] == build.data_digest(), "rebuild: python -m lowmed.nano.build"


def test_the_weights_were_trained_on_the_pretraining_stream_and_seen_modalities_only() -> None:
    source = (Path(build.__file__).parent / "teach.py").read_text() + Path(build.__file__).read_text()
    literals = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert "pretrain" in literals
    assert not {"train", "unseen"} & literals  # build measures on "test"
    for base in build.BASES.values():
        last = base[-1].end
        samples = phantom.samples("pretrain", last)
        assert {sample.modality for sample in samples} == {"CT", "MRI", "X-ray"}
        assert len({sample.id for sample in samples}) == last


def test_phases_do_not_share_samples() -> None:
    for base in build.BASES.values():
        assert [phase.first_sample for phase in base] == [0, *(phase.end for phase in base[:-1])]


def test_it_is_a_qwen2_vl_with_2_to_4_million_parameters(loaded: tuple[Any, Any]) -> None:
    trained, processor = loaded
    assert type(trained).__name__ == "Qwen2VLForConditionalGeneration"
    assert type(processor).__name__ == "Qwen2VLProcessor"
    assert 2_000_000 <= trained.num_parameters() <= 4_000_000
    assert processor.tokenizer.padding_side == "left"


def test_the_token_ids_of_the_config_match_the_tokenizer(loaded: tuple[Any, Any]) -> None:
    trained, processor = loaded
    token_id = processor.tokenizer.convert_tokens_to_ids
    config = trained.config
    assert [token_id(token) for token in model.SPECIAL_TOKENS] == list(range(592, 600))
    assert config.text_config.vocab_size == len(processor.tokenizer) == 600
    assert config.image_token_id == processor.image_token_id == token_id("<|image_pad|>")
    assert config.video_token_id == processor.video_token_id == token_id("<|video_pad|>")
    assert config.vision_start_token_id == token_id("<|vision_start|>")
    assert config.vision_end_token_id == token_id("<|vision_end|>")
    assert processor.tokenizer.eos_token_id == token_id("<|im_end|>")
    assert processor.tokenizer.pad_token_id == token_id("<|endoftext|>") == trained.generation_config.pad_token_id
    assert trained.generation_config.eos_token_id == [token_id("<|im_end|>"), token_id("<|endoftext|>")]
    assert 2 * sum(config.text_config.rope_parameters["mrope_section"]) == 192 // 6


def test_the_chat_template_has_the_format_of_qwen2_vl(loaded: tuple[Any, Any]) -> None:
    messages = prompt.build_messages(prompt.family("direct"), phantom.samples("test", 1)[0])
    text = loaded[1].apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    start = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    assert text.startswith(start + "<|vision_start|><|image_pad|><|vision_end|>")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    with_system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert loaded[1].apply_chat_template(with_system, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
    )


@pytest.mark.parametrize(("size", "tokens"), [((84, 84), 9), ((140, 84), 15), ((28, 28), 4), ((700, 500), 450)])
def test_images_of_any_size_are_accepted(loaded: tuple[Any, Any], size: tuple[int, int], tokens: int) -> None:
    import torch

    trained, processor = loaded
    messages = prompt.build_messages(prompt.family("reasoning"), phantom.samples("test", 1)[0])
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], images=[phantom.open_image("phantom/test/0/0").resize(size)], return_tensors="pt")
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == tokens
    with torch.inference_mode():
        assert bool(torch.isfinite(trained(**inputs).logits).all())


def test_any_text_is_encoded_and_decoded(loaded: tuple[Any, Any]) -> None:
    import unicodedata

    tokenizer = loaded[1].tokenizer
    generator = random.Random(0)
    below, above = range(0xD800), range(0xE000, 0x110000)  # every code point but the surrogates
    random_texts = [
        "".join(chr(generator.choice(generator.choice([below, above]))) for _ in range(40)) for _ in range(20)
    ]
    for text in ["", "\x00\t\r\n  ", "Où est la lésion ? 病変 🫁 β≥2 µm", *random_texts]:
        tokens = tokenizer(text)["input_ids"]
        assert tokenizer.decode(tokens) == unicodedata.normalize("NFC", text)
        assert all(0 <= token < 600 for token in tokens)


def test_a_prompt_is_short(loaded: tuple[Any, Any]) -> None:
    for sample in phantom.samples("test", 50):
        family = prompt.family("diverse")
        for draw in range(len(family.wordings)):
            text = loaded[1].apply_chat_template(prompt.build_messages(family, sample, draw), tokenize=False)
            assert len(loaded[1].tokenizer(text)["input_ids"]) <= 120
        assert (
            len(loaded[1].tokenizer(prompt.reference_completion(family, sample))["input_ids"])
            < measure.MAX_COMPLETION_TOKENS
        )


def test_the_reference_is_right_and_other_completions_are_not() -> None:
    for sample in phantom.samples("test", 100):
        right = prompt.reference_completion(prompt.family("reasoning"), sample)
        assert measure.is_right(sample, right)
        assert measure.reasons_right(sample, right)
        assert not measure.is_right(sample, right.replace("<answer>", "<answer>not "))
        assert not measure.is_right(sample, right + " ")
        assert not measure.is_right(sample, sample.answer)
        assert not measure.reasons_right(sample, right.replace(f" {sample.answer}.", " nothing."))


@pytest.mark.slow
@pytest.mark.parametrize("four_bit", [False, True], ids=["bfloat16", "nf4"])
def test_the_shipped_base_sees_but_gives_the_most_frequent_answer(four_bit: bool) -> None:
    import torch

    trained, processor = measure.load(nano.folder(), four_bit)
    samples = phantom.samples("test", 100)
    greedy = measure.completions(trained, processor, samples)
    result = measure.accuracies(samples, greedy)
    assert 0.2 < result.right < 0.6
    assert result.well_formed > 0.9
    assert result.reasoning_right > 0.75
    torch.manual_seed(0)
    sampled = measure.completions(trained, processor, samples[:50], tries=8, temperature=1.0, rows=16)
    assert measure.pass_at(samples[:50], sampled)["all"] > 0.85


def test_the_recorded_accuracies_can_be_improved() -> None:
    for accuracies in record()["test"].values():
        assert accuracies["samples"] == 500
        assert 0.25 < accuracies["right"] < 0.55
        assert accuracies["well_formed"] > 0.9
        assert accuracies["reasoning_right"] > 0.8
        assert min(accuracies["pass_at_8"].values()) > 0.9
        assert max(accuracies["right_of_topic"].values()) < 0.75
