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
from lowmed.engine.prefix.decoder import Decoder
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
def _logits(model: Any, inputs: Mapping[str, Any], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of some decoding steps by lowmed and by transformers, [steps, rows, vocabulary]."""
    core = sampling.unwrapped(model)
    positions = sampling.token_positions(core, inputs)
    text_only = FAMILIES[core.config.model_type].text_only
    stock = DynamicCache(config=core.config)
    read = positions[0] if text_only else positions
    hidden = core.model(**inputs, position_ids=read, past_key_values=stock, use_cache=True).last_hidden_state
    next_positions = (positions.amax(dim=(0, 2)) + 1)[ROWS, None] + torch.arange(STEPS)
    decoder = Decoder()
    decoder.begin(core, stock, inputs["attention_mask"].bool(), ROWS, STEPS)
    stock.batch_select_indices(ROWS)
    rotations = decode.rotary(core, next_positions, hidden)
    tokens = torch.randint(20, 500, (len(ROWS), STEPS), generator=torch.Generator().manual_seed(0))
    mask = inputs["attention_mask"][ROWS]
    ours, expected = [], []
    for step in range(STEPS):
        ours.append(decoder.read(tokens[:, step], rotations[step]).clone())
        assert ours[-1].dtype == hidden.dtype == dtype
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        read = next_positions[:, step, None] if text_only else next_positions[:, step].expand(3, -1)[:, :, None]
        inputs = {"input_ids": tokens[:, step, None], "position_ids": read}
        inputs |= {"attention_mask": mask, "past_key_values": stock}
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):  # as in training
            hidden = core.model(**inputs, use_cache=True).last_hidden_state
            expected.append(core.lm_head(hidden[:, -1]))
    return torch.stack(ours), torch.stack(expected)


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference as a share of the largest logit."""
    return float((one - other).abs().max() / other.abs().max())


def test_a_step_equals_that_of_transformers_up_to_rounding() -> None:
    loaded = _with_adapter()
    exact, stock = _logits(loaded.model, _inputs(loaded, torch.float32), torch.float32)
    assert _difference(exact, stock) < 1e-5
    for name, weight in loaded.model.named_parameters():
        if "lora_" not in name:  # as on a GPU: a 16-bit base with a 32-bit adapter
            weight.data = weight.data.to(torch.bfloat16)
    ours, stock = _logits(loaded.model, _inputs(loaded, torch.bfloat16), torch.bfloat16)
    errors = [(logits - exact).float().pow(2).mean().sqrt() for logits in (ours, stock)]
    assert errors[0] < 1.5 * errors[1] < 0.1 * exact.pow(2).mean().sqrt()


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "qwen3_vl", "llama", "qwen2", "qwen3"])
def test_a_step_of_every_family_equals_that_of_transformers(model_type: str, tmp_path: Path) -> None:
    spec = ModelSpec(name=str(tiny.save(model_type, tmp_path)), load_in="16bit")
    loaded = load.load_base(spec, device.find_device(spec))
    samples = list(phantom.samples("test", 2))
    if loaded.family.text_only:
        samples = [replace(sample, images=()) for sample in samples]
    inputs = encode(loaded, samples, prompt.family("reasoning"), phantom.open_image)
    assert decode.supports(loaded.model)
    assert _difference(*_logits(loaded.model.eval(), inputs, torch.float32)) < 1e-5


def test_other_families_are_not_supported() -> None:
    model = load.load_base(MODEL, device.find_device(MODEL)).model
    assert decode.supports(model)
    model.config.model_type = "qwen9_vl"
    assert not decode.supports(model)
