"""One step of decoding against transformers' own: its logits, in every precision and for every known kind of model."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import DynamicCache, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from lowmed import prompt
from lowmed.engine import device, load
from lowmed.engine.generate import encode
from lowmed.engine.prefix import decode, sampling
from lowmed.nano import phantom
from lowmed.recipe import LoraSpec, ModelSpec

MODEL = ModelSpec(name="nano", load_in="16bit")
ROWS = torch.tensor([0, 0, 1])
STEPS = 6
VISION_2_5 = {
    "depth": 2, "hidden_size": 64, "num_heads": 2, "out_hidden_size": 192, "intermediate_size": 128,
    "patch_size": 14, "spatial_merge_size": 2, "fullatt_block_indexes": [1],
}  # fmt: skip


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
    result = encode(loaded, [first, second], prompt.family("reasoning"), phantom.picture)
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in result.items()}


@torch.no_grad()
def _furthest(model: Any, inputs: Mapping[str, Any], dtype: torch.dtype) -> float:
    """The largest difference of the logits of some steps from transformers' own, as a share of the largest logit."""
    core = sampling.unwrapped(model)
    positions = sampling.mrope_positions(core.model, inputs)
    stock = DynamicCache(config=core.config)
    hidden = core.model(**inputs, position_ids=positions, past_key_values=stock, use_cache=True).last_hidden_state
    following = (positions.amax(dim=(0, 2)) + 1)[ROWS, None] + torch.arange(STEPS)
    decoder = decode.Decoder()
    past = decoder.begin(stock, inputs["attention_mask"].bool(), ROWS, STEPS)
    stock.batch_select_indices(ROWS)
    turns, linear = decode.rotary(core, following, hidden), decode.linear_layer(core)
    tokens = torch.randint(20, 500, (len(ROWS), STEPS), generator=torch.Generator().manual_seed(0))
    mask = inputs["attention_mask"][ROWS]
    furthest = 0.0
    for step in range(STEPS):
        ours = decoder.read(core, linear, past, tokens[:, step], turns[step])
        assert ours.dtype == past.keys[0].dtype == dtype
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        given = {"input_ids": tokens[:, step, None], "position_ids": following[:, step].expand(3, -1)[:, :, None]}
        expected = core.model(**given, attention_mask=mask, past_key_values=stock, use_cache=True).last_hidden_state
        logits = core.lm_head(expected[:, -1])
        furthest = max(furthest, float((ours - logits).abs().max() / logits.abs().max()))
    return furthest


def test_a_step_is_that_of_transformers_up_to_rounding() -> None:
    loaded = _with_adapter()
    assert _furthest(loaded.model, _inputs(loaded, torch.float32), torch.float32) < 1e-5
    for name, weight in loaded.model.named_parameters():
        if "lora_" not in name:  # as on a card: a 16-bit base under a 32-bit adapter
            weight.data = weight.data.to(torch.bfloat16)
    assert _furthest(loaded.model, _inputs(loaded, torch.bfloat16), torch.bfloat16) < 2e-2


def test_a_step_of_qwen2_5_vl_is_that_of_transformers() -> None:
    loaded = load.load_base(MODEL, device.find_device(MODEL))
    fields = loaded.model.config.to_dict()
    text = {name: value for name, value in fields["text_config"].items() if name != "model_type"}
    ids = {name: value for name, value in fields.items() if "token_id" in name}
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=VISION_2_5, **ids))
    assert _furthest(model.eval(), _inputs(loaded, torch.float32), torch.float32) < 1e-5


def test_other_models_are_not_known() -> None:
    model = load.load_base(MODEL, device.find_device(MODEL)).model
    assert decode.supports(model)
    model.config.model_type = "qwen3_vl"
    assert not decode.supports(model)
