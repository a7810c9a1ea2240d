"""Compiled decoding: the tokens of the plain one, whatever the adapter has become, and refusals in words."""

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
    asked = [first, replace(second, images=()), replace(third, images=(*third.images, *first.images))]
    result: Mapping[str, Any] = encode(loaded, asked, prompt.family("reasoning"), phantom.picture)
    return result


def _both(
    loaded: load.Loaded, compiled: CompiledDecoder, owners: list[int], temperature: float
) -> tuple[list[list[int]], list[list[int]]]:
    """The completions by the plain and by the compiled step, from one state of the generator."""
    plain = prefill.Sampling(24, temperature, loaded.suppressed, loaded.end_ids)
    result = []
    for sampling in (plain, replace(plain, decoder=compiled)):
        torch.manual_seed(3)
        result.append(prefill.generate(loaded.model, _inputs(loaded), owners, sampling))
    return result[0], result[1]


def _graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


@pytest.mark.slow
def test_compiled_tokens_are_the_plain_ones_through_changes_of_the_adapter(nano: load.Loaded) -> None:
    _stays_the_same_through_changes(nano)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_on_a_card_the_step_is_replayed_as_a_graph() -> None:
    exact = replace(device.find_device(MODEL), precision="fp32")  # so that no token hangs on rounding
    loaded = load.with_trainable_adapter(load.load_base(MODEL, exact), LoraSpec(), "nano")
    _stays_the_same_through_changes(loaded)
    assert counters["inductor"]["cudagraph_skips"] == 0


def _stays_the_same_through_changes(nano: load.Loaded) -> None:
    compiled, owners, before = CompiledDecoder(), [0, 0, 1, 1, 2, 2], _graphs()
    nano.model.eval()
    plain, result = _both(nano, compiled, owners, 0.0)
    assert result == plain
    plain, result = _both(nano, compiled, owners, 1.3)
    assert result == plain
    assert len({len(ids) for ids in plain}) > 1  # rows ended at different tokens

    weights = [weight for weight in nano.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=30.0)
    inputs = _inputs(nano)
    nano.model.train()
    nano.model(**inputs, labels=inputs["input_ids"]).loss.backward()
    optimizer.step()
    nano.model.eval()
    trained, result = _both(nano, compiled, owners, 1.3)
    assert result == trained
    assert trained != plain  # what the optimizer wrote has counted

    nano.model.train()  # the adapter has no dropout, so that it may be sampled from so as well
    assert _both(nano, compiled, owners, 1.3)[1] == trained
    nano.model.eval()
    plain, result = _both(nano, compiled, [1, 0, 0], 1.3)  # fewer rows than there is room for, in another order
    assert result == plain
    assert _graphs() == before + 1  # one step was compiled for all of it


def test_a_step_that_can_not_be_compiled_stops_with_words(nano: load.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any, **_options: Any) -> Any:
        raise RuntimeError("no compiler was found")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda step, **options: real(step, fullgraph=True, backend=broken))
    sampling = prefill.Sampling(5, 1.0, nano.suppressed, nano.end_ids, CompiledDecoder())
    with pytest.raises(SetupError, match="can not be compiled here") as told:
        prefill.generate(nano.model, _inputs(nano), [0], sampling)
    assert "no compiler was found" in told.value.what
    assert told.value.where == "model.rollout=compiled"
    assert "model.rollout=transformers" in told.value.fix


def test_compiled_is_chosen_where_it_was_measured_faster_and_never_for_four_bits(
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
    said = device.choose_rollout(ModelSpec(load_in="16bit", rollout="transformers"), CARD)
    assert said == ("transformers", "the recipe says so")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["model.load_in=4bit"], "a 4-bit base can not be compiled"),
        (["model.load_in=16bit", "model.backend=unsloth"], "unsloth samples by its own code"),
    ],
)
def test_compiled_rollouts_that_can_not_be_had_are_refused(keys: list[str], words: str) -> None:
    refused = device.unsupported_error(load_recipe("rarl", ["model.rollout=compiled", *keys]))
    assert isinstance(refused, RecipeError)
    assert words in refused.what
    assert refused.where == "model.rollout"
    assert "model.rollout=transformers" in refused.fix
    wanted = ["model.rollout=compiled", "model.load_in=16bit"]
    assert device.unsupported_error(load_recipe("rarl", wanted)) is None
