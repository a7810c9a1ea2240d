"""Loading nano: what is 4-bit, what is trained, and which errors are raised."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from models import tiny
from PIL import Image

from lowmed import architectures, nano
from lowmed.data.image.policy import PixelPolicy, image_tokens, prepare
from lowmed.engine import device, load
from lowmed.engine.adapter import write_adapter
from lowmed.engine.processor import load_processor
from lowmed.errors import DataError, RecipeError, RunError, SetupError
from lowmed.models import FAMILIES
from lowmed.plan import faster
from lowmed.recipe import LoraSpec, ModelSpec
from lowmed.run import Run

CPU = device.Device("cpu", "CPU", 0.0, "fp32")
CARD = device.Device("cuda", "some card", 24.0, "bf16")
NANO = ModelSpec(name="nano")


@pytest.fixture(scope="module", autouse=True)
def without_a_gpu() -> None:
    if not torch.cuda.is_available():
        device.find_device(NANO)


def test_attention_of_cudnn_is_off_because_it_plans_every_new_shape() -> None:
    device.find_device(NANO)
    cuda: Any = torch.backends.cuda
    assert not cuda.cudnn_sdp_enabled()
    assert cuda.flash_sdp_enabled()
    assert cuda.mem_efficient_sdp_enabled()


def test_language_layers_are_four_bit_and_nothing_else_is() -> None:
    model = load.load_base(NANO, CPU).model
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    assert {kind for name, kind in kinds.items() if name.endswith(("q_proj", "down_proj"))} == {"Linear4bit"}
    assert "Linear4bit" not in {kind for name, kind in kinds.items() if "visual" in name or "lm_head" in name}


def test_the_check_finds_a_quantized_vision_tower() -> None:
    model = load.load_base(NANO, CPU).model
    layer = next(module for name, module in model.named_modules() if name.endswith("q_proj"))
    model.model.visual.merger.mlp[0] = layer
    with pytest.raises(SetupError, match="not quantized as the recipe says"):
        load.check_quantized(model, NANO)


def test_the_check_finds_a_language_layer_left_in_16_bit() -> None:
    model = load.load_base(NANO.model_copy(update={"load_in": "16bit"}), CPU).model
    with pytest.raises(SetupError, match="not quantized as the recipe says"):
        load.check_quantized(model, NANO)


def test_only_the_language_adapter_trains_and_it_has_the_recipes_rank() -> None:
    loaded = load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(rank=4), "nano")
    names = [name for name, weight in loaded.model.named_parameters() if weight.requires_grad]
    assert names
    assert all("language_model" in name and "lora_" in name for name in names)
    assert loaded.model.peft_config["default"].r == 4
    assert loaded.model.peft_config["default"].base_model_name_or_path == "nano"


def test_an_unknown_family_is_an_error(tmp_path: Path) -> None:
    config = json.loads(architectures.SHIPPED.read_text())["Qwen/Qwen3-VL-2B-Instruct"] | {"model_type": "mllama"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SetupError, match="models of type `mllama` are not supported"):
        load.load_base(ModelSpec(name=str(tmp_path)), CPU)


@pytest.mark.parametrize(
    ("config", "weights", "problem"),
    [("llama", "qwen3", "have no place in the model, first model.layers.0"), ("qwen3", "llama", "are missing")],
)
@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
def test_weights_of_another_class_are_an_error(
    config: str, weights: str, problem: str, load_in: str, tmp_path: Path
) -> None:
    folder = tiny.save(config, tmp_path / config)
    other = tiny.save(weights, tmp_path / weights)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(SetupError, match=problem):
        load.load_base(ModelSpec(name=str(folder), load_in=load_in), CPU)


def test_the_tokenizer_must_end_a_turn_where_generation_stops(tmp_path: Path) -> None:
    file = tiny.save("llama", tmp_path) / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token": "<|im_start|>"}))
    with pytest.raises(SetupError, match="generation does not stop there"):
        load.load_base(ModelSpec(name=str(tmp_path)), CPU)


def test_an_adapter_on_the_tower_is_an_error() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load.load_base(NANO, CPU).model, LoraConfig(r=2, target_modules=["qkv"]))
    with pytest.raises(SetupError, match="outside the language adapter"):
        load.check_trainable(model)


def test_an_adapter_that_was_saved_before_the_process_died_is_saved_again(tmp_path: Path) -> None:
    loaded = load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(rank=4), "nano")
    for _ in range(2):
        write_adapter(loaded.model, Run(tmp_path).adapter)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_a_run_can_start_from_an_adapter_of_the_same_rank_only(tmp_path: Path) -> None:
    loaded = load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(rank=4), "nano")
    loaded.model.save_pretrained(str(tmp_path / "adapter"))
    again = load.with_trainable_adapter(
        load.load_base(NANO, CPU), LoraSpec(rank=4, start=str(tmp_path)), "nano"
    )  # a run directory works like the adapter in it
    assert any(weight.requires_grad for weight in again.model.parameters())
    with pytest.raises(RecipeError, match="rank 4, the recipe 8"):
        load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(rank=8, start=str(tmp_path)), "nano")
    with pytest.raises(RunError, match="no adapter"):
        load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(start=str(tmp_path / "none")), "nano")


@pytest.mark.parametrize("tokens", [4, 64, 256, 1024])
def test_the_processor_follows_the_pixel_policy(tokens: int) -> None:
    processor = load_processor(str(nano.folder()), None, PixelPolicy(tokens), FAMILIES["qwen2_vl"])
    assert processor.tokenizer.padding_side == "left"


@pytest.mark.parametrize("budget", [4, 5, 9, 64, 256, 1024])
def test_the_processor_of_qwen3_keeps_prepared_images_and_their_tokens(budget: int, tmp_path: Path) -> None:
    policy = PixelPolicy(budget, token_side=32)
    processor = load_processor(str(tiny.save("qwen3_vl", tmp_path)), None, policy, FAMILIES["qwen3_vl"])
    for width, height in ((2000, 1500), (300, 40), (33, 31), (64, 4000), (90, 90)):
        try:
            image = prepare(Image.new("RGB", (width, height)), policy)
        except DataError:  # a strip with more tokens than the budget
            continue
        grid = processor.image_processor(images=[image], return_tensors="pt")["image_grid_thw"][0].tolist()
        assert [grid[2] * 16, grid[1] * 16] == list(image.size)
        assert grid[1] * grid[2] // 4 == image_tokens(width, height, policy) <= policy.most_tokens
        assert image.width * image.height <= policy.max_pixels


def test_a_processor_that_does_not_follow_the_pixel_policy_is_an_error(tmp_path: Path) -> None:
    folder = shutil.copytree(nano.folder(), tmp_path / "model")
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["image_processor"]["merge_size"] = 1
    (folder / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(SetupError, match="the pixel policy"):
        load_processor(str(folder), None, PixelPolicy(64), FAMILIES["qwen2_vl"])


def test_vision_tokens_are_never_sampled() -> None:
    loaded = load.load_base(NANO, CPU)
    special = loaded.processor.tokenizer.convert_ids_to_tokens(loaded.suppressed)
    assert "<|image_pad|>" in special
    assert loaded.processor.tokenizer.convert_tokens_to_ids("<|im_end|>") in loaded.end_ids
    assert not set(loaded.suppressed) & set(loaded.end_ids)


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot load the model folder"):
        load.load_base(ModelSpec(name=str(tmp_path)), CPU)


def test_without_the_hub_the_error_suggests_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SetupError) as caught:
        load.load_base(ModelSpec(name="Qwen/Qwen2-VL-2B-Instruct"), CPU)
    assert "model.name=/path/to" in caught.value.fix


def test_unsloth_without_a_gpu_is_an_error() -> None:
    with pytest.raises(SetupError, match="CUDA GPU"):
        load.choose_backend(ModelSpec(backend="unsloth"), CPU)


@pytest.mark.parametrize(
    ("keys", "words"), [({"rollout": "vllm"}, "vLLM for this model"), ({"weights": "random"}, "trained weights")]
)
def test_unsupported_settings_of_unsloth_are_an_error_before_it_is_imported(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        load.choose_backend(ModelSpec(backend="unsloth", **keys), CARD)


def test_the_backend_has_a_reason() -> None:
    assert load.choose_backend(ModelSpec(), CARD) == (
        "transformers",
        "unsloth has not been measured against it on some card",
    )
    assert load.choose_backend(ModelSpec(backend="transformers"), CARD)[0] == "transformers"


def measured_backend(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = folder / "faster.json"
    table.write_text(json.dumps({"some card": {"backend": name}}))
    monkeypatch.setattr(faster, "TABLE", table)


def test_unsloth_that_was_not_faster_is_not_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_backend("transformers", tmp_path, monkeypatch)
    reason = "unsloth was not measured at least 5 % faster on some card"
    assert load.choose_backend(ModelSpec(), CARD) == ("transformers", reason)


@pytest.fixture
def unsloth_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU on which unsloth was measured faster, in a process that has imported torch only."""
    measured_backend("unsloth", tmp_path, monkeypatch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    monkeypatch.delitem(sys.modules, "transformers", raising=False)


@pytest.mark.usefixtures("unsloth_faster")
def test_auto_selects_the_backend_that_was_measured_faster() -> None:
    assert load.choose_backend(ModelSpec(), CARD) == ("unsloth", "measured faster on some card")


@pytest.mark.usefixtures("unsloth_faster")
def test_auto_falls_back_to_transformers_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    random = ModelSpec(weights="random")
    assert load.choose_backend(random, CARD) == ("transformers", "unsloth loads trained weights only")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert load.choose_backend(ModelSpec(), CARD) == ("transformers", "unsloth is not installed")


@pytest.mark.usefixtures("unsloth_faster")
def test_transformers_is_used_if_it_was_imported_before_unsloth(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec(backend="unsloth")
    assert load.choose_backend(spec, CARD) == ("unsloth", "set in the recipe")
    monkeypatch.setitem(sys.modules, "transformers", object())
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    backend, reason = load.choose_backend(spec, CARD)
    assert backend == "transformers"
    assert "imported before unsloth" in reason


def test_a_failing_import_of_unsloth_is_a_setup_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNSLOTH_COMPILE_LOCATION", "UNSLOTH_DISABLE_STATISTICS"):
        monkeypatch.setenv(name, "as it was")
    monkeypatch.setitem(sys.modules, "unsloth", None)  # makes its import fail
    monkeypatch.setattr(load, "choose_backend", lambda _spec, _machine: ("unsloth", "set in the recipe"))
    with pytest.raises(SetupError, match="cannot import the unsloth backend"):
        load.load_base(NANO, CARD)


def test_random_weights_have_the_usual_spread_and_no_equal_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from lowmed.engine import transformers_backend

    monkeypatch.setattr(transformers_backend, "DRAWN", 10_007)  # smaller than most of nano's matrices
    spec, cpu = ModelSpec(name="nano", weights="random", load_in="16bit"), device.Device("cpu", "CPU", 0.0, "fp32")
    model = transformers_backend.load(str(nano.folder()), spec, cpu)
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]  # a tied one once
    assert max(weight.numel() for weight in matrices) > 10_007
    for weight in matrices:
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert len(torch.unique(weight, dim=0)) == len(weight)
    assert len({tuple(weight[0, :8].tolist()) for weight in matrices}) == len(matrices)
