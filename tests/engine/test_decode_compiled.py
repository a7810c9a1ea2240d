"""Compiled decoding gives the tokens of the eager step, also after the adapter changed; unsupported uses are errors."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from lowmed import prompt
from lowmed.engine import device, load
from lowmed.engine.generate import encode
from lowmed.engine.prefix import sampling as prefill
from lowmed.engine.prefix.decode_compiled import CompiledDecoder
from lowmed.errors import RecipeError, SetupError
from lowmed.nano import phantom
from lowmed.recipe import LoraSpec, ModelSpec
from lowmed.recipe.io import load_recipe

MODEL = ModelSpec(name="nano", load_in="16bit")
CPU = device.Device("cpu", "CPU", 0.0, "fp32")
CARD = device.Device("cuda", "some card", 24.0, "bf16")


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    return load.with_trainable_adapter(load.load_base(MODEL, device.find_device(MODEL)), LoraSpec(), "nano")


def _inputs(loaded: load.Loaded) -> Mapping[str, Any]:
    first, second, third = phantom.samples("test", 3)
    samples = [first, replace(second, images=()), replace(third, images=(*third.images, *first.images))]
    result: Mapping[str, Any] = encode(loaded, samples, prompt.family("reasoning"), phantom.open_image)
    return result


def _both(
    loaded: load.Loaded, compiled: CompiledDecoder, prompt_of_row: list[int], temperature: float
) -> tuple[list[list[int]], list[list[int]]]:
    """The completions by the eager and by the compiled step, from the same generator state."""
    eager = prefill.Sampling(24, temperature, loaded.suppressed, loaded.end_ids)
    result = []
    for sampling in (eager, replace(eager, decoder=compiled)):
        torch.manual_seed(3)
        result.append(prefill.generate(loaded.model, _inputs(loaded), prompt_of_row, sampling))
    return result[0], result[1]


def _graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


@pytest.mark.slow
def test_compiled_tokens_equal_eager_ones_while_the_adapter_changes(nano: load.Loaded) -> None:
    _agrees_while_the_adapter_changes(nano)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_the_step_is_replayed_as_a_graph() -> None:
    fp32 = replace(device.find_device(MODEL), precision="fp32")  # so that no token depends on rounding
    loaded = load.with_trainable_adapter(load.load_base(MODEL, fp32), LoraSpec(), "nano")
    _agrees_while_the_adapter_changes(loaded)
    assert counters["inductor"]["cudagraph_skips"] == 0


def _agrees_while_the_adapter_changes(nano: load.Loaded) -> None:
    compiled, prompt_of_row, before = CompiledDecoder(), [0, 0, 1, 1, 2, 2], _graphs()
    nano.model.eval()
    eager, result = _both(nano, compiled, prompt_of_row, 0.0)
    assert result == eager
    eager, result = _both(nano, compiled, prompt_of_row, 1.3)
    assert result == eager
    assert len({len(ids) for ids in eager}) > 1  # rows ended at different tokens

    weights = [weight for weight in nano.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=30.0)
    inputs = _inputs(nano)
    nano.model.train()
    nano.model(**inputs, labels=inputs["input_ids"]).loss.backward()
    optimizer.step()
    nano.model.eval()
    trained, result = _both(nano, compiled, prompt_of_row, 1.3)
    assert result == trained
    assert trained != eager  # the optimizer step took effect

    nano.model.train()  # the adapter has no dropout, so the mode does not matter
    assert _both(nano, compiled, prompt_of_row, 1.3)[1] == trained
    nano.model.eval()
    eager, result = _both(nano, compiled, [1, 0, 0], 1.3)  # fewer rows than the cache has, in another order
    assert result == eager
    assert _graphs() == before + 1  # the step was compiled once


def test_a_step_that_cannot_be_compiled_is_a_setup_error(nano: load.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any, **_options: Any) -> Any:
        raise RuntimeError("no compiler was found")

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda step, **options: original(step, fullgraph=True, backend=broken))
    sampling = prefill.Sampling(5, 1.0, nano.suppressed, nano.end_ids, CompiledDecoder())
    with pytest.raises(SetupError, match="cannot compile the decoding step") as caught:
        prefill.generate(nano.model, _inputs(nano), [0], sampling)
    assert "no compiler was found" in caught.value.what
    assert caught.value.where == "model.rollout=compiled"
    assert "model.rollout=transformers" in caught.value.fix


def test_compiled_is_selected_if_it_was_measured_faster_and_never_for_4_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "COMPILED_FASTER", frozenset({"some card"}))
    auto = ModelSpec(load_in="16bit")
    assert device.choose_rollout(auto, CARD) == ("compiled", "measured faster on some card")
    assert device.choose_rollout(auto, CPU) == (
        "transformers",
        "compiled decoding has not been measured faster on CPU",
    )
    assert device.choose_rollout(ModelSpec(load_in="4bit"), CARD)[0] == "transformers"
    selected = device.choose_rollout(ModelSpec(load_in="16bit", rollout="transformers"), CARD)
    assert selected == ("transformers", "set in the recipe")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["model.load_in=4bit"], "a 4-bit base cannot be compiled"),
        (["model.load_in=16bit", "model.backend=unsloth"], "unsloth samples with its own code"),
    ],
)
def test_unsupported_compiled_rollouts_are_an_error(keys: list[str], words: str) -> None:
    error = device.unsupported_error(load_recipe("rarl", ["model.rollout=compiled", *keys]))
    assert isinstance(error, RecipeError)
    assert words in error.what
    assert error.where == "model.rollout"
    assert "model.rollout=transformers" in error.fix
    supported = ["model.rollout=compiled", "model.load_in=16bit"]
    assert device.unsupported_error(load_recipe("rarl", supported)) is None
