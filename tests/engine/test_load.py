"""The true loading code on nano: what is 4-bit, what trains, what is refused."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lowmed import nano
from lowmed.data.image.policy import PixelPolicy
from lowmed.engine import device, load
from lowmed.errors import RecipeError, RunError, SetupError
from lowmed.recipe import LoraSpec, ModelSpec

CPU = device.Device("cpu", "CPU", 0.0, "fp32")
CARD = device.Device("cuda", "some card", 24.0, "bf16")
NANO = ModelSpec(name="nano")


@pytest.fixture(scope="module", autouse=True)
def without_a_card() -> None:
    if not torch.cuda.is_available():
        device.find_device(NANO)


def test_language_layers_are_four_bit_and_nothing_else_is() -> None:
    model = load.load_base(NANO, CPU).model
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    assert {kind for name, kind in kinds.items() if name.endswith(("q_proj", "down_proj"))} == {"Linear4bit"}
    assert "Linear4bit" not in {kind for name, kind in kinds.items() if "visual" in name or "lm_head" in name}


def test_the_check_finds_a_tower_that_was_quantised() -> None:
    model = load.load_base(NANO, CPU).model
    layer = next(module for name, module in model.named_modules() if name.endswith("q_proj"))
    model.model.visual.merger.mlp[0] = layer
    with pytest.raises(SetupError, match="quantised otherwise"):
        load.check_quantised(model, NANO)


def test_the_check_finds_a_language_layer_left_in_16_bit() -> None:
    model = load.load_base(NANO.model_copy(update={"load_in": "16bit"}), CPU).model
    with pytest.raises(SetupError, match="quantised otherwise"):
        load.check_quantised(model, NANO)


def test_only_the_language_adapter_trains_and_it_has_the_recipes_rank() -> None:
    loaded = load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(rank=4), "nano")
    names = [name for name, weight in loaded.model.named_parameters() if weight.requires_grad]
    assert names
    assert all("language_model" in name and "lora_" in name for name in names)
    assert loaded.model.peft_config["default"].r == 4
    assert loaded.model.peft_config["default"].base_model_name_or_path == "nano"


def test_an_adapter_on_the_tower_is_refused() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load.load_base(NANO, CPU).model, LoraConfig(r=2, target_modules=["qkv"]))
    with pytest.raises(SetupError, match="outside the language adapter"):
        load.check_trainable(model)


def test_a_run_can_start_from_an_adapter_of_the_same_rank_alone(tmp_path: Path) -> None:
    loaded = load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(rank=4), "nano")
    loaded.model.save_pretrained(str(tmp_path / "adapter"))
    again = load.with_trainable_adapter(
        load.load_base(NANO, CPU), LoraSpec(rank=4, start=str(tmp_path)), "nano"
    )  # a run folder is as good as the adapter inside it
    assert any(weight.requires_grad for weight in again.model.parameters())
    with pytest.raises(RecipeError, match="rank 4, the recipe 8"):
        load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(rank=8, start=str(tmp_path)), "nano")
    with pytest.raises(RunError, match="no adapter"):
        load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(start=str(tmp_path / "none")), "nano")


@pytest.mark.parametrize("tokens", [4, 64, 256, 1024])
def test_the_processor_keeps_to_the_pixel_policy(tokens: int) -> None:
    processor = load.load_processor(str(nano.folder()), None, PixelPolicy(tokens))
    assert processor.tokenizer.padding_side == "left"


def test_a_processor_that_ignores_the_budget_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoProcessor

    true = AutoProcessor.from_pretrained

    def forgetful(source: str, **options: object) -> object:
        return true(source, revision=options["revision"])  # as transformers 4.57 did

    monkeypatch.setattr(AutoProcessor, "from_pretrained", forgetful)
    with pytest.raises(SetupError, match="the pixel policy"):
        load.load_processor(str(nano.folder()), None, PixelPolicy(64))


def test_vision_tokens_are_never_sampled() -> None:
    loaded = load.load_base(NANO, CPU)
    special = loaded.processor.tokenizer.convert_ids_to_tokens(loaded.suppressed)
    assert "<|image_pad|>" in special
    assert loaded.processor.tokenizer.convert_tokens_to_ids("<|im_end|>") in loaded.end_ids
    assert not set(loaded.suppressed) & set(loaded.end_ids)


def test_a_folder_that_holds_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="model folder does not load"):
        load.load_base(ModelSpec(name=str(tmp_path)), CPU)


def test_a_hub_that_can_not_be_reached_names_the_folder_form(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SetupError) as caught:
        load.load_base(ModelSpec(name="Qwen/Qwen2-VL-2B-Instruct"), CPU)
    assert "model.name=/path/to" in caught.value.fix


def test_unsloth_is_refused_without_a_card() -> None:
    with pytest.raises(SetupError, match="CUDA card"):
        load.choose_backend(ModelSpec(backend="unsloth"), CPU)


@pytest.mark.parametrize(
    ("keys", "words"), [({"rollout": "vllm"}, "vLLM for Qwen2-VL"), ({"weights": "random"}, "trained weights")]
)
def test_what_unsloth_refuses_is_refused_before_it_is_loaded(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        load.choose_backend(ModelSpec(backend="unsloth", **keys), CARD)


def test_auto_says_why() -> None:
    assert load.choose_backend(ModelSpec(), CARD) == (
        "transformers",
        "unsloth has not been measured against it on some card",
    )
    assert load.choose_backend(ModelSpec(backend="transformers"), CARD)[0] == "transformers"


@pytest.fixture
def unsloth_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card where unsloth was measured faster, before anything but torch is imported."""
    monkeypatch.setitem(load.FASTER_BACKEND, "some card", "unsloth")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    monkeypatch.delitem(sys.modules, "transformers", raising=False)


@pytest.mark.usefixtures("unsloth_faster")
def test_auto_takes_what_was_measured_faster() -> None:
    assert load.choose_backend(ModelSpec(), CARD) == ("unsloth", "measured faster on some card")


@pytest.mark.usefixtures("unsloth_faster")
def test_auto_is_never_refused_and_says_what_stood_against_the_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = ModelSpec(weights="random")
    assert load.choose_backend(random, CARD) == ("transformers", "unsloth loads trained weights only")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert load.choose_backend(ModelSpec(), CARD) == ("transformers", "unsloth is not installed")


@pytest.mark.usefixtures("unsloth_faster")
def test_unsloth_gives_way_where_transformers_was_imported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ModelSpec(backend="unsloth")
    assert load.choose_backend(asked, CARD) == ("unsloth", "the recipe says so")
    monkeypatch.setitem(sys.modules, "transformers", object())
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    backend, why = load.choose_backend(asked, CARD)
    assert backend == "transformers"
    assert "too late" in why


def test_an_unsloth_that_does_not_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNSLOTH_COMPILE_LOCATION", "UNSLOTH_DISABLE_STATISTICS"):
        monkeypatch.setenv(name, "as it was")
    monkeypatch.setitem(sys.modules, "unsloth", None)  # Python's word for: halt its import
    monkeypatch.setattr(load, "choose_backend", lambda _spec, _machine: ("unsloth", "the recipe says so"))
    with pytest.raises(SetupError, match="unsloth backend does not start"):
        load.load_base(NANO, CARD)
