"""The logits of a decoding step equal those of transformers, in every precision and for every supported family."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models import tiny
from transformers import DynamicCache

from lowmed import prompt
from lowmed.engine import device, load
from lowmed.engine.generate import encode
from lowmed.engine.prefix import decode, sampling
from lowmed.models import FAMILIES
from lowmed.nano import phantom
from lowmed.recipe import LoraSpec, ModelSpec

MODEL = ModelSpec(name="nano", load_in="16bit")
ROWS = torch.tensor([0, 0, 1])
STEPS = 6


def _with_adapter() -> load.Loaded:
    loaded = load.with_trainable_adapter(load.load_base(MODEL, device.find_device(MODEL)), LoraSpec(), "nano")
    torch.manual_seed(0)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    loaded.model.eval()
    return loaded


def _inputs(loaded: load.Loaded, dtype: torch.dtype) -> Mapping[str, Any]:
    first, second = phantom.samples("test", 2)
    result = encode(loaded, [first, second], prompt.family("reasoning"), phantom.open_image)
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in result.items()}


@torch.no_grad()
def _largest_difference(model: Any, inputs: Mapping[str, Any], dtype: torch.dtype) -> float:
    """The largest difference of logits from those of transformers, as a share of the largest logit."""
    core = sampling.unwrapped(model)
    positions = sampling.token_positions(core, inputs)
    text_only = FAMILIES[core.config.model_type].text_only
    stock = DynamicCache(config=core.config)
    read = positions[0] if text_only else positions
    hidden = core.model(**inputs, position_ids=read, past_key_values=stock, use_cache=True).last_hidden_state
    next_positions = (positions.amax(dim=(0, 2)) + 1)[ROWS, None] + torch.arange(STEPS)
    decoder = decode.Decoder()
    cache = decoder.begin(stock, inputs["attention_mask"].bool(), ROWS, STEPS)
    stock.batch_select_indices(ROWS)
    rotations, linear = decode.rotary(core, next_positions, hidden), decode.choose_linear(core)
    tokens = torch.randint(20, 500, (len(ROWS), STEPS), generator=torch.Generator().manual_seed(0))
    mask = inputs["attention_mask"][ROWS]
    largest = 0.0
    for step in range(STEPS):
        ours = decoder.read(core, linear, cache, tokens[:, step], rotations[step])
        assert ours.dtype == cache.keys[0].dtype == dtype
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        read = next_positions[:, step, None] if text_only else next_positions[:, step].expand(3, -1)[:, :, None]
        inputs = {"input_ids": tokens[:, step, None], "position_ids": read}
        expected = core.model(**inputs, attention_mask=mask, past_key_values=stock, use_cache=True).last_hidden_state
        logits = core.lm_head(expected[:, -1])
        largest = max(largest, float((ours - logits).abs().max() / logits.abs().max()))
    return largest


def test_a_step_equals_that_of_transformers_up_to_rounding() -> None:
    loaded = _with_adapter()
    assert _largest_difference(loaded.model, _inputs(loaded, torch.float32), torch.float32) < 1e-5
    for name, weight in loaded.model.named_parameters():
        if "lora_" not in name:  # as on a GPU: a 16-bit base with a 32-bit adapter
            weight.data = weight.data.to(torch.bfloat16)
    assert _largest_difference(loaded.model, _inputs(loaded, torch.bfloat16), torch.bfloat16) < 2e-2


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "qwen3_vl", "llama", "qwen2", "qwen3"])
def test_a_step_of_every_family_equals_that_of_transformers(model_type: str, tmp_path: Path) -> None:
    spec = ModelSpec(name=str(tiny.save(model_type, tmp_path)), load_in="16bit")
    loaded = load.load_base(spec, device.find_device(spec))
    samples = list(phantom.samples("test", 2))
    if loaded.family.text_only:
        samples = [replace(sample, images=()) for sample in samples]
    inputs = encode(loaded, samples, prompt.family("reasoning"), phantom.open_image)
    assert decode.supports(loaded.model)
    assert _largest_difference(loaded.model.eval(), inputs, torch.float32) < 1e-5


def test_other_families_are_not_supported() -> None:
    model = load.load_base(MODEL, device.find_device(MODEL)).model
    assert decode.supports(model)
    model.config.model_type = "qwen9_vl"
    assert not decode.supports(model)
