"""Each distinct image is encoded once, without an autograd graph, and nothing else changes."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lowmed import nano, prompt
from lowmed.data.load import load as load_data
from lowmed.data.split import split_data
from lowmed.engine import device, load, train
from lowmed.engine.generate import encode
from lowmed.engine.vision import cache
from lowmed.engine.vision.lru import TensorCache
from lowmed.recipe import LoraSpec, ModelSpec
from lowmed.recipe.io import load_recipe
from lowmed.run import create_run
from lowmed.sample import Sample

CPU = device.Device("cpu", "CPU", 0.0, "fp32")
NANO = ModelSpec(name="nano", load_in="16bit")  # "16bit" is fp32 here: the precision of the CPU
FAMILY = prompt.family("reasoning")
SHAPES = {"a": (112, 112), "b": (140, 84), "c": (112, 112)}


@pytest.fixture(scope="module", autouse=True)
def without_a_gpu() -> None:
    if not torch.cuda.is_available():
        device.find_device(NANO)


def fresh() -> load.Loaded:
    """nano with an adapter that changes its completions."""
    torch.manual_seed(0)
    loaded = load.with_trainable_adapter(load.load_base(NANO, CPU), LoraSpec(rank=4), "nano")
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return loaded


def open_image(name: str) -> Image.Image:
    width, height = SHAPES[name]
    red = sorted(SHAPES).index(name) * 90
    return Image.linear_gradient("L").resize((width, height)).convert("RGB").point(lambda value: (value + red) % 256)


def samples_of(*images: str) -> list[Sample]:
    return [
        Sample(str(place), "Is there a mass?", "yes", "closed", group=name, source="made", images=(name,))
        for place, name in enumerate(images)
    ]


def inputs_of(loaded: load.Loaded, *images: str) -> Any:
    return encode(loaded, samples_of(*images), FAMILY, open_image)


def loss_and_gradients(loaded: load.Loaded, inputs: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loaded.model.zero_grad()
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    loss = loaded.model(**inputs, labels=labels).loss
    loss.backward()
    trained = {name: weight.grad for name, weight in loaded.model.named_parameters() if weight.requires_grad}
    assert trained
    assert all(gradient is not None for gradient in trained.values())
    return loss.detach(), {name: gradient.clone() for name, gradient in trained.items() if gradient is not None}


def stock(loaded: load.Loaded) -> Callable[[], None]:
    """Restore the tower's own forward; the returned function puts the cache back."""
    visual = loaded.model.base_model.model.model.visual
    cached_forward = visual.__dict__.pop("forward")
    return lambda: setattr(visual, "forward", cached_forward)


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_loss_and_gradients_equal_those_of_the_stock_tower_up_to_rounding(gradient_checkpointing: bool) -> None:
    """The stock tower encodes all images in one batch, and a CPU may add up a larger batch in another order."""
    loaded = fresh()
    if gradient_checkpointing:
        loaded.model.gradient_checkpointing_enable()
        loaded.model.enable_input_require_grads()
    loaded.model.train()
    inputs = inputs_of(loaded, "a", "b", "a", "c", "b")
    restore_cache = stock(loaded)
    loss, gradients = loss_and_gradients(loaded, inputs)
    restore_cache()
    for _pass in range(2):
        cached_loss, cached = loss_and_gradients(loaded, inputs)
        torch.testing.assert_close(cached_loss, loss, rtol=1e-5, atol=0)
        for name, gradient in gradients.items():
            largest = gradient.abs().max().item()
            torch.testing.assert_close(cached[name], gradient, rtol=0, atol=1e-5 * largest, msg=name)
    assert loaded.vision_cache is not None
    assert (loaded.vision_cache.requested, loaded.vision_cache.encoded) == (10, 3)


def test_features_equal_those_of_the_stock_tower_for_one_image_in_every_pass() -> None:
    """Equal to the bit on every CPU: the same code on the same input, and copies of its result."""
    loaded = fresh()
    visual = loaded.model.base_model.model.model.visual
    grid = torch.tensor([[1, 4, 6]])
    one, other = torch.randn(24, 1176), torch.randn(24, 1176)
    with torch.no_grad():
        expected = [type(visual).forward(visual, pixels, grid_thw=grid).pooler_output for pixels in (one, other)]
    for _pass in range(2):
        features = visual(torch.cat([one, other, one]), grid_thw=grid.repeat(3, 1)).pooler_output
        assert torch.equal(features, torch.cat([*expected, expected[0]]))


def test_no_layer_of_the_tower_keeps_a_graph_when_activations_are_recomputed() -> None:
    loaded = fresh()
    loaded.model.gradient_checkpointing_enable()
    loaded.model.enable_input_require_grads()
    loaded.model.enable_input_require_grads()  # as the trainers do once more; the first hooks stay for good
    loaded.model.train()
    visual = loaded.model.base_model.model.model.visual
    seen: list[bool] = []
    runs: list[int] = []
    visual.blocks[0].register_forward_hook(lambda *_: runs.append(1))
    visual.register_forward_hook(lambda _module, _inputs, output: seen.append(output.pooler_output.requires_grad))
    loss_and_gradients(loaded, inputs_of(loaded, "a", "b"))
    assert seen == [False]
    assert len(runs) == 2  # one an image, none in the backward pass


def test_features_of_an_evaluation_can_be_used_in_training() -> None:
    loaded = fresh()
    inputs = inputs_of(loaded, "a", "b")
    loaded.model.eval()
    with torch.inference_mode():
        loaded.model(**loaded.processor(text="hello", return_tensors="pt"))  # without an image the tower is not called
        visual = loaded.model.base_model.model.model.visual
        features = visual(inputs["pixel_values"].clone(), grid_thw=inputs["image_grid_thw"]).pooler_output
        assert not features.is_inference()  # such a tensor could not be kept for a backward pass
        loaded.model(**{name: value.clone() for name, value in inputs.items()})
    loaded.model.train()
    loss_and_gradients(loaded, inputs)
    assert loaded.vision_cache is not None
    assert (loaded.vision_cache.requested, loaded.vision_cache.encoded) == (6, 2)


def test_same_pixels_in_another_shape_are_another_image() -> None:
    loaded = fresh()
    visual = loaded.model.base_model.model.model.visual
    pixels = torch.randn(24, 1176)
    flat, high = (visual(pixels, grid_thw=torch.tensor([grid])) for grid in ([1, 4, 6], [1, 6, 4]))
    assert not torch.equal(flat.pooler_output, high.pooler_output)
    changed = pixels.clone()
    changed[-1, -1] += 2**-20
    visual(changed, grid_thw=torch.tensor([[1, 4, 6]]))
    assert loaded.vision_cache is not None
    assert loaded.vision_cache.encoded == 3


def test_changing_returned_features_does_not_change_the_cache() -> None:
    loaded = fresh()
    visual = loaded.model.base_model.model.model.visual
    pixels, grid = torch.randn(16, 1176), torch.tensor([[1, 4, 4]])
    first = visual(pixels, grid_thw=grid).pooler_output
    kept = first.clone()
    first.zero_()
    assert torch.equal(visual(pixels, grid_thw=grid).pooler_output, kept)


def test_the_least_recently_used_features_are_removed_and_encoded_again() -> None:
    loaded = fresh()
    visual = loaded.model.base_model.model.model.visual
    images, grid = torch.randn(3, 16, 1176), torch.tensor([[1, 4, 4]])
    one = visual(images[0], grid_thw=grid).pooler_output
    assert loaded.vision_cache is not None
    loaded.vision_cache.features = TensorCache(2 * one.nbytes)
    for place in (0, 1, 0, 2, 0, 1):  # 2 replaces 1, because 0 was used in between
        features = visual(images[place], grid_thw=grid).pooler_output
        assert loaded.vision_cache.features.bytes <= 2 * one.nbytes
    loaded.vision_cache.features = TensorCache(0)
    twice = visual(torch.cat([images[1]] * 2), grid_thw=grid.repeat(2, 1)).pooler_output
    assert torch.equal(twice, torch.cat([features] * 2))
    assert loaded.vision_cache.encoded == 1 + 4 + 1  # without any space the copies in one batch still share one


def test_changed_weights_of_the_tower_invalidate_the_features() -> None:
    loaded = fresh()
    visual = loaded.model.base_model.model.model.visual
    pixels, grid = torch.randn(16, 1176), torch.tensor([[1, 4, 4]])
    before = visual(pixels, grid_thw=grid).pooler_output
    state = visual.state_dict()
    state["merger.mlp.2.bias"] = state["merger.mlp.2.bias"] + 1
    visual.load_state_dict(state)
    assert not torch.equal(before, visual(pixels, grid_thw=grid).pooler_output)


def test_a_trained_tower_or_an_adapter_on_it_is_not_cached_and_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    from peft import LoraConfig, get_peft_model

    loaded = fresh()
    visual = loaded.model.base_model.model.model.visual
    pixels, grid = torch.randn(16, 1176), torch.tensor([[1, 4, 4]])
    visual.merger.requires_grad_(True)
    for _ in range(2):
        assert visual(pixels, grid_thw=grid).pooler_output.requires_grad
    assert [record.message for record in caplog.records] == [
        "the vision tower is trained or has an adapter: every image is encoded again in every pass"
    ]
    assert loaded.vision_cache is not None
    assert loaded.vision_cache.encoded == 0

    served = load.load_base(NANO, CPU)
    adapted = get_peft_model(served.model, LoraConfig(r=2, target_modules=["qkv"], init_lora_weights=False))
    adapted.requires_grad_(False)
    visual = adapted.base_model.model.model.visual
    tuned = visual(pixels, grid_thw=grid).pooler_output
    with adapted.disable_adapter():
        assert not torch.equal(tuned, visual(pixels, grid_thw=grid).pooler_output)


def test_an_unknown_family_is_not_cached_and_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    model = load.load_base(NANO, CPU).model
    del model.model.visual.__dict__["forward"]
    model.config.model_type = "qwen9_vl"
    assert cache.cache_vision_tower(model) is None
    assert "forward" not in model.model.visual.__dict__
    assert "`qwen9_vl` trains with TRL's own trainers" in caplog.text


def test_qwen_2_5_with_its_windows_gives_the_stock_features() -> None:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1, "vocab_size": 200}  # fmt: skip
    vision = {"depth": 3, "hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
              "fullatt_block_indexes": [1], "window_size": 56}  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)).eval()
    grids = torch.tensor([[1, 6, 8], [1, 10, 4], [1, 6, 8]])
    pixels = torch.randn(48 + 40 + 48, 1176)
    with torch.no_grad():
        together = model.model.visual(pixels, grid_thw=grids).pooler_output
        images = zip(torch.split(pixels, [48, 40, 48]), grids, strict=True)
        alone = torch.cat([model.model.visual(image, grid_thw=grid[None]).pooler_output for image, grid in images])
    vision_cache = cache.cache_vision_tower(model)
    assert vision_cache is not None
    result = model.model.visual(pixels, grid_thw=grids).pooler_output
    assert torch.equal(result, alone)
    assert torch.allclose(result, together, atol=1e-6)


def test_qwen3_gives_the_stock_features_of_every_depth_also_from_the_cache() -> None:
    from models import tiny
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(tiny.config("qwen3_vl")).eval()
    grids = torch.tensor([[1, 6, 8], [1, 10, 4], [1, 6, 8]])
    pixels = torch.randn(48 + 40 + 48, 1536)
    with torch.no_grad():
        stock = model.model.visual(pixels, grid_thw=grids)
    vision_cache = cache.cache_vision_tower(model)
    assert vision_cache is not None
    for encoded in (3, 3):  # encoded, then from the cache
        result = model.model.visual(pixels, grid_thw=grids)
        assert vision_cache.encoded == encoded
        assert len(result.deepstack_features) == len(stock.deepstack_features) == 2
        assert torch.allclose(result.pooler_output, stock.pooler_output, atol=1e-6)
        for ours, expected in zip(result.deepstack_features, stock.deepstack_features, strict=True):
            assert torch.allclose(ours, expected, atol=1e-6)
            assert not torch.allclose(ours, result.pooler_output, atol=1e-3)


def test_names_copies_and_saved_folders_are_unchanged(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText

    loaded = load.load_base(NANO, CPU)
    plain = AutoModelForImageTextToText.from_pretrained(nano.folder(), dtype=torch.float32)
    assert list(loaded.model.state_dict()) == list(plain.state_dict())
    twin = copy.deepcopy(loaded.model)
    pixels, grid = torch.randn(16, 1176), torch.tensor([[1, 4, 4]])
    torch.nn.init.zeros_(twin.model.visual.merger.mlp[2].weight)
    assert not torch.equal(
        twin.model.visual(pixels, grid_thw=grid).pooler_output,
        loaded.model.model.visual(pixels, grid_thw=grid).pooler_output,
    )
    loaded.model.save_pretrained(tmp_path / "base")
    back = AutoModelForImageTextToText.from_pretrained(tmp_path / "base", dtype=torch.float32)
    assert all(torch.equal(weight, back.state_dict()[name]) for name, weight in plain.state_dict().items())


def test_two_steps_of_grpo_encode_each_distinct_image_once(tmp_path: Path) -> None:
    small = ["method.num_generations=4", "method.prompts_per_step=3", "method.max_steps=2",
             "method.max_completion_length=8", "method.per_device_train_batch_size=2", "data.max_train_questions=5",
             "model.load_in=16bit",
             "method.skip_zero_variance_groups=false", "method.mask_truncated_completions=false"]  # fmt: skip
    recipe = load_recipe("rarl", small, nano=True)
    data_split = split_data(load_data(recipe.data.name, recipe.data.path), recipe.data, recipe.seed)
    loaded = train.load_for_training(recipe)
    run = create_run(recipe, "tower", out=str(tmp_path / "run"))
    assert train.train(run, loaded, data_split, report=lambda _step, _row: None) == "finished"
    seen = {row["id"] for row in run.rows("rollouts.jsonl")}
    images = {image for sample in data_split.train if sample.id in seen for image in sample.images}
    assert loaded.vision_cache is not None
    assert loaded.vision_cache.encoded == len(images)
    assert loaded.vision_cache.requested >= 2 * loaded.vision_cache.encoded  # in the rollout and again in the loss
    assert loaded.vision_cache.uncached_calls == 0
