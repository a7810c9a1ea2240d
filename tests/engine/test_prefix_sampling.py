"""Sampling with one cache for each prompt gives the tokens of transformers' `generate`, with less work."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from lowmed import nano as embedded
from lowmed import prompt
from lowmed.engine import device, load
from lowmed.engine.generate import encode
from lowmed.engine.prefix import decoder
from lowmed.engine.prefix import sampling as prefill
from lowmed.errors import SetupError
from lowmed.models import FAMILIES
from lowmed.nano import phantom
from lowmed.recipe import LoraSpec, ModelSpec
from lowmed.sample import Sample

FAMILY = prompt.family("reasoning")
MODEL = ModelSpec(name="nano")
PROMPT_OF_ROW = [0, 0, 0, 1, 2, 2, 3, 3, 0]


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    loaded = load.load_base(MODEL, device.find_device(MODEL))
    return load.with_trainable_adapter(loaded, LoraSpec(), "nano")


@pytest.fixture(scope="module")
def wide(nano: load.Loaded) -> load.Loaded:
    """Random weights with heads as in Qwen2-VL-2B: width 128, six query heads a key head, three M-RoPE sections."""
    config = Qwen2VLConfig.from_pretrained(str(embedded.folder()))
    for name, value in {
        "hidden_size": 768, "num_attention_heads": 6, "num_key_value_heads": 1, "num_hidden_layers": 2,
        "layer_types": ["full_attention"] * 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }.items():  # fmt: skip
        setattr(config.text_config, name, value)
    config.vision_config.hidden_size = 768
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = nano.end_ids
    return replace(nano, model=model, vision_cache=None)


def _samples() -> list[Sample]:
    """Four questions of different lengths: one without an image, one with two."""
    first, second, third, fourth = phantom.samples("test", 4)
    two = (*third.images, *first.images)
    return [first, replace(second, images=()), replace(third, images=two), replace(fourth, question="What is this?")]


def _stock(loaded: load.Loaded, prompt_of_row: list[int], sampling: prefill.Sampling) -> list[list[int]]:
    samples = _samples()
    inputs = encode(loaded, [samples[prompt_number] for prompt_number in prompt_of_row], FAMILY, phantom.open_image)
    how: dict[str, Any] = {"do_sample": False}
    if sampling.temperature:
        limits = {"top_k": sampling.top_k, "top_p": sampling.top_p, "min_p": sampling.min_p}
        how = {"do_sample": True, "temperature": sampling.temperature, **limits}
    with torch.no_grad():
        result = loaded.model.generate(
            **inputs,
            max_new_tokens=sampling.max_new_tokens,
            suppress_tokens=list(sampling.suppressed),
            pad_token_id=loaded.processor.tokenizer.pad_token_id,
            **how,
        )
    return [
        prefill.truncate_at_end(ids, sampling.end_ids) for ids in result[:, inputs["input_ids"].shape[1] :].tolist()
    ]


def _ours(loaded: load.Loaded, prompt_of_row: list[int], sampling: prefill.Sampling) -> list[list[int]]:
    return prefill.generate(loaded.model, _inputs(loaded), prompt_of_row, sampling)


def _inputs(loaded: load.Loaded) -> Mapping[str, Any]:
    result: Mapping[str, Any] = encode(loaded, _samples(), FAMILY, phantom.open_image)
    return result


def _sampling(loaded: load.Loaded, tokens: int, temperature: float) -> prefill.Sampling:
    return prefill.Sampling(tokens, temperature, loaded.suppressed, loaded.end_ids)


@pytest.mark.parametrize("model", ["nano", "wide"])
@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_the_tokens_equal_those_of_generate_greedy_and_sampled(
    model: str, temperature: float, request: pytest.FixtureRequest
) -> None:
    loaded = request.getfixturevalue(model)
    loaded.model.eval()
    sampling = _sampling(loaded, 40 if model == "nano" else 12, temperature)
    torch.manual_seed(5)
    expected = _stock(loaded, PROMPT_OF_ROW, sampling)
    torch.manual_seed(5)
    assert _ours(loaded, PROMPT_OF_ROW, sampling) == expected
    assert len({len(ids) for ids in expected}) > 1 or model == "wide"  # rows ended at different tokens


@pytest.mark.parametrize("limit", [{"top_p": 0.6}, {"top_k": 2}, {"min_p": 0.3}, {"top_p": 0.9, "top_k": 5}])
def test_limits_of_sampling_give_the_tokens_of_generate(limit: dict[str, Any], nano: load.Loaded) -> None:
    nano.model.eval()
    sampling = replace(_sampling(nano, 30, 2.0), **limit)
    torch.manual_seed(5)
    expected = _stock(nano, PROMPT_OF_ROW, sampling)
    torch.manual_seed(5)
    assert _ours(nano, PROMPT_OF_ROW, sampling) == expected
    torch.manual_seed(5)
    assert _ours(nano, PROMPT_OF_ROW, _sampling(nano, 30, 2.0)) != expected


@pytest.fixture
def shapes(nano: load.Loaded, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Rows and tokens of every forward pass of the language model."""
    recorded: list[tuple[int, int]] = []

    def record(_module: Any, _arguments: Any, options: dict[str, Any]) -> None:
        recorded.append(tuple(options["inputs_embeds"].shape[:2]))

    def step(core: Any, linears: Any, tokens: torch.Tensor, *others: Any) -> torch.Tensor:
        recorded.append((len(tokens), 1))
        return original(core, linears, tokens, *others)

    original: Callable[..., torch.Tensor] = decoder.__dict__["decode_step"]
    monkeypatch.setattr(decoder, "decode_step", step)
    core = prefill.unwrapped(nano.model)
    hook = core.model.language_model.register_forward_pre_hook(record, with_kwargs=True)
    yield recorded
    hook.remove()


def test_each_prompt_is_read_once_and_finished_rows_leave_the_batch(
    nano: load.Loaded, shapes: list[tuple[int, int]]
) -> None:
    nano.model.eval()
    torch.manual_seed(1)
    completions = _ours(nano, PROMPT_OF_ROW, _sampling(nano, 40, 1.3))
    prompts, *steps = shapes
    assert prompts[0] == 4
    assert steps[0] == (len(PROMPT_OF_ROW), 1)
    assert len(steps) == max(map(len, completions)) - 1  # nothing is computed after the last completion ended
    assert steps[-1][0] <= len(PROMPT_OF_ROW) / 2


def test_suppressed_tokens_are_never_sampled(nano: load.Loaded) -> None:
    torch.manual_seed(2)
    completions = _ours(nano, [0, 1, 2, 3] * 8, _sampling(nano, 30, 1000.0))  # nearly uniform over the vocabulary
    sampled = {token for ids in completions for token in ids}
    assert len(sampled) > 300
    assert not sampled & set(nano.suppressed)


def test_nan_or_infinite_logits_are_an_error_at_the_first_token(nano: load.Loaded) -> None:
    norm = prefill.unwrapped(nano.model).model.language_model.norm.weight
    original = norm.data.clone()
    for broken in (float("nan"), float("inf")):
        norm.data[3] = broken
        with pytest.raises(SetupError, match="produced NaN or infinite logits") as caught:
            _ours(nano, PROMPT_OF_ROW, _sampling(nano, 5, 1.0))
        assert "bf16" in caught.value.fix
        norm.data.copy_(original)
    assert _ours(nano, [0], _sampling(nano, 5, 0.0))


def test_other_adapters_than_plain_lora_are_computed_by_peft() -> None:
    loaded = load.load_base(MODEL, device.find_device(MODEL))
    how = LoraConfig(r=4, use_dora=True, target_modules=FAMILIES["qwen2_vl"].lora_pattern, init_lora_weights=False)
    loaded.model = get_peft_model(loaded.model, how).eval()
    for name, weight in loaded.model.named_parameters():
        if "magnitude" in name:  # far from the result of plain LoRA
            weight.data *= 1.5
    sampling = _sampling(loaded, 20, 0.0)
    assert _ours(loaded, PROMPT_OF_ROW, sampling) == _stock(loaded, PROMPT_OF_ROW, sampling)
    with loaded.model.disable_adapter():
        assert _ours(loaded, PROMPT_OF_ROW, sampling) == _stock(loaded, PROMPT_OF_ROW, sampling)


def test_distinct_keys_keep_the_order_of_first_occurrence() -> None:
    assert prefill.deduplicate(["b", "a", "b", "c", "a"]) == ([0, 1, 3], [0, 1, 0, 2, 1])
    assert prefill.deduplicate([]) == ([], [])


def test_a_completion_ends_at_its_first_end_token() -> None:
    assert prefill.truncate_at_end([5, 6, 9, 7, 9], [9, 8]) == [5, 6, 9]
    assert prefill.truncate_at_end([5, 6], [9]) == [5, 6]
