"""Decoding by CUDA graphs gives the tokens of the step without graphs. A CPU can test all but the capture."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lowmed import prompt
from lowmed.engine import device, load
from lowmed.engine.generate import encode
from lowmed.engine.prefix import sampling as prefill
from lowmed.engine.prefix.decoder import Decoder, _size
from lowmed.errors import RecipeError
from lowmed.models import FAMILIES
from lowmed.nano import phantom
from lowmed.plan import faster
from lowmed.recipe import LoraSpec, ModelSpec
from lowmed.recipe.io import load_recipe

MODEL = ModelSpec(name="nano", load_in="16bit")
CPU = device.Device("cpu", "CPU", 0.0, "fp32")
CARD = device.Device("cuda", "some card", 24.0, "bf16")
PROMPT_OF_ROW = [0, 0, 1, 1, 2, 2]
TEXT = ("input_ids", "attention_mask", "mm_token_type_ids")  # the inputs of the question without an image


class Recalled(Decoder):
    """A decoder whose graphs call the step again, as a replay would run it again with the tensors of its capture."""

    def __init__(self) -> None:
        super().__init__(use_graphs=True, keeps_cache=True)
        self.captured: list[tuple[int, int]] = []
        self.replays = 0

    def _capture(self, step: Callable[[], None]) -> Any:
        assert step.__closure__ is not None
        cells = {cell.cell_contents for cell in step.__closure__ if isinstance(cell.cell_contents, int)}
        rows, length = sorted(cells)
        self.captured.append((rows, length))

        def replay() -> None:
            self.replays += 1
            step()

        return SimpleNamespace(replay=replay)


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    return load.with_trainable_adapter(load.load_base(MODEL, device.find_device(MODEL)), LoraSpec(), "nano")


def _inputs(loaded: load.Loaded) -> Mapping[str, Any]:
    first, second, third = phantom.samples("test", 3)
    samples = [first, replace(second, images=()), replace(third, images=(*third.images, *first.images))]
    result: Mapping[str, Any] = encode(loaded, samples, prompt.family("reasoning"), phantom.open_image)
    return result


def _both(
    loaded: load.Loaded, decoder: Decoder, prompt_of_row: list[int], temperature: float, tokens: int = 24
) -> tuple[list[list[int]], list[list[int]]]:
    """The completions by a new decoder without graphs, and by another decoder, from the same generator state."""
    eager = prefill.Sampling(tokens, temperature, loaded.suppressed, loaded.end_ids)
    result = []
    for sampling in (eager, replace(eager, decoder=decoder)):
        torch.manual_seed(3)
        result.append(prefill.generate(loaded.model, _inputs(loaded), prompt_of_row, sampling))
    return result[0], result[1]


def test_replayed_steps_give_the_same_tokens_while_the_adapter_changes(nano: load.Loaded) -> None:
    decoder = Recalled()
    _agrees_while_the_adapter_changes(nano, decoder)
    assert decoder.use_graphs
    assert len(decoder.captured) < decoder.replays / 5
    assert {rows for rows, _length in decoder.captured} <= {7, 6, 4, 3, 2, 1}
    assert all(length % 128 == 0 for _rows, length in decoder.captured)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("load_in", ["16bit", "4bit"])
def test_on_a_gpu_the_step_is_replayed_as_a_graph(load_in: str) -> None:
    spec = MODEL.model_copy(update={"load_in": load_in})
    fp32 = replace(device.find_device(spec), precision="fp32")  # so that no token depends on rounding
    loaded = load.with_trainable_adapter(load.load_base(spec, fp32), LoraSpec(), "nano")
    assert loaded.uses_cuda_graphs
    decoder = Decoder(use_graphs=True)
    _agrees_while_the_adapter_changes(loaded, decoder)
    assert decoder.use_graphs
    assert decoder._graphs


def _agrees_while_the_adapter_changes(nano: load.Loaded, decoder: Decoder) -> None:
    nano.model.eval()
    eager, result = _both(nano, decoder, PROMPT_OF_ROW, 0.0)
    assert result == eager
    eager, result = _both(nano, decoder, PROMPT_OF_ROW, 1.3)
    assert result == eager
    assert len({len(ids) for ids in eager}) > 1  # rows ended at different tokens

    weights = [weight for weight in nano.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=30.0)
    inputs = _inputs(nano)
    nano.model.train()
    nano.model(**inputs, labels=inputs["input_ids"]).loss.backward()
    optimizer.step()
    nano.model.eval()
    trained, result = _both(nano, decoder, PROMPT_OF_ROW, 1.3)
    assert result == trained
    assert trained != eager  # the optimizer step took effect

    nano.model.train()  # the adapter has no dropout, so the mode does not matter
    assert _both(nano, decoder, PROMPT_OF_ROW, 1.3)[1] == trained
    nano.model.eval()
    eager, result = _both(nano, decoder, [1, 0, 0], 1.3)  # fewer rows than the cache has, in another order
    assert result == eager
    eager, result = _both(nano, decoder, [*PROMPT_OF_ROW, 0], 1.3, tokens=150)  # a larger cache
    assert result == eager
    with nano.model.disable_adapter():
        eager, result = _both(nano, decoder, PROMPT_OF_ROW, 1.3)
        assert result == eager != trained


def test_the_cache_stays_for_the_next_batch_only_if_it_is_kept(nano: load.Loaded) -> None:
    kept, freed = Recalled(), Recalled()
    freed.keeps_cache = False
    _both(nano, kept, PROMPT_OF_ROW, 0.0)
    _both(nano, freed, PROMPT_OF_ROW, 0.0)
    assert freed._cache is None
    assert not freed._graphs
    assert kept._cache is not None
    address, captured = kept._cache.keys[0].data_ptr(), len(kept.captured)
    _both(nano, kept, [0, 1], 0.0)
    assert kept._cache.keys[0].data_ptr() == address
    assert len(kept.captured) <= captured + 2  # for two rows and one


class Wrong(Recalled):
    """A decoder whose graphs compute something else."""

    def _capture(self, step: Callable[[], None]) -> Any:
        assert self._buffers is not None
        logits = self._buffers.logits
        return SimpleNamespace(replay=lambda: logits.fill_(9.0))


class NotANumber(Recalled):
    def _capture(self, step: Callable[[], None]) -> Any:
        assert self._buffers is not None
        logits = self._buffers.logits
        return SimpleNamespace(replay=lambda: logits.fill_(torch.nan))


@pytest.mark.parametrize(
    ("decoder", "reason"),
    [(Wrong(), "gave other logits"), (NotANumber(), "gave other logits"), (Decoder(use_graphs=True), "")],
    ids=["wrong", "nan", "no-gpu"],
)
def test_without_working_graphs_decoding_goes_on_after_one_line(
    nano: load.Loaded, decoder: Decoder, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    if torch.cuda.is_available() and not reason:
        pytest.skip("graphs work here")
    nano.model.eval()
    with caplog.at_level(logging.WARNING, logger="lowmed"):
        eager, result = _both(nano, decoder, PROMPT_OF_ROW, 1.3)
    assert result == eager
    assert not decoder.use_graphs
    [line] = [record.getMessage() for record in caplog.records if "CUDA graphs" in record.getMessage()]
    assert line.startswith("decoding goes on without CUDA graphs, more slowly: ")
    assert line.endswith(reason)


def test_a_16_bit_copy_of_a_4_bit_base_gives_the_same_tokens() -> None:
    spec = MODEL.model_copy(update={"load_in": "4bit"})
    base = load.load_base(spec, device.find_device(spec))
    torch.manual_seed(0)
    loaded = load.with_trainable_adapter(base, LoraSpec(), "nano")
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    loaded.model.eval()
    decoder = Decoder(dequantizes=True)
    eager, result = _both(loaded, decoder, PROMPT_OF_ROW, 1.3)
    assert result == eager
    layers = prefill.unwrapped(loaded.model).config.text_config.num_hidden_layers
    assert len(decoder._dequantized) == 7 * layers
    assert {type(copy) for copy in decoder._dequantized.values()} == {torch.nn.Linear}
    copies = list(decoder._dequantized.values())
    _both(loaded, decoder, PROMPT_OF_ROW, 0.0)
    assert all(one is other for one, other in zip(copies, decoder._dequantized.values(), strict=True))  # made once


def test_a_16_bit_copy_leaves_adapters_that_peft_computes_as_they_are() -> None:
    spec = MODEL.model_copy(update={"load_in": "4bit"})
    loaded = load.load_base(spec, device.find_device(spec))
    torch.manual_seed(0)
    how = LoraConfig(r=4, use_dora=True, target_modules=FAMILIES["qwen2_vl"].lora_pattern, init_lora_weights=False)
    loaded.model = get_peft_model(loaded.model, how).eval()
    eager, result = _both(loaded, Decoder(dequantizes=True), PROMPT_OF_ROW, 0.0)
    assert result == eager
    with loaded.model.disable_adapter():
        assert _both(loaded, Decoder(), PROMPT_OF_ROW, 0.0)[0] != eager


def test_log_probabilities_are_those_of_the_sampled_tokens(nano: load.Loaded) -> None:
    nano.model.eval()
    inputs, temperature = _inputs(nano), 1.3
    torch.manual_seed(0)
    how = prefill.Sampling(12, temperature, nano.suppressed, nano.end_ids)
    [ids], [log_probs] = prefill.sample(nano.model, {k: v[1:2] for k, v in inputs.items() if k in TEXT}, [0], how)
    assert len(ids) == len(log_probs)
    row = torch.cat((inputs["input_ids"][1], torch.tensor(ids)))[None]
    mask = torch.cat((inputs["attention_mask"][1], torch.ones(len(ids), dtype=torch.long)))[None]
    with torch.no_grad():
        logits = nano.model(input_ids=row, attention_mask=mask).logits[0, -len(ids) - 1 : -1] / temperature
    expected = logits.log_softmax(dim=-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
    assert torch.tensor(log_probs) == pytest.approx(expected, abs=1e-4)


def test_graphs_have_few_sizes() -> None:
    assert [_size(count, 64) for count in (64, 33, 32, 17, 5, 1)] == [64, 64, 32, 32, 8, 1]
    assert {_size(count, 100) for count in range(1, 101)} == {100, 50, 25, 13, 7, 4, 2, 1}
    assert all(_size(count, rows) >= count for rows in range(1, 70) for count in range(1, rows + 1))


def test_a_step_of_qwen2_vl_2b_starts_at_most_850_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import decode_kernels

    kernels = decode_kernels.measure()
    assert kernels["lowmed"]["LoRA"] <= 850
    assert kernels["lowmed"]["LoRA"] < kernels["transformers"]["LoRA"] / 2


def test_graphs_are_selected_on_a_gpu_unless_the_recipe_says_otherwise() -> None:
    assert device.choose_rollout(ModelSpec(), CARD)[0] == "cuda_graphs"
    assert device.choose_rollout(ModelSpec(load_in="16bit"), CARD)[0] == "cuda_graphs"
    assert device.choose_rollout(ModelSpec(rollout="transformers"), CARD) == ("transformers", "set in the recipe")
    assert device.choose_rollout(ModelSpec(), CARD, "unsloth")[0] == "transformers"
    for rollout in ("auto", "cuda_graphs"):
        assert device.choose_rollout(ModelSpec(rollout=rollout), CPU) == ("transformers", "CUDA graphs need a GPU")


def test_a_measured_choice_of_rollouts_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faster.json").write_text('{"some card": {"rollout": "transformers"}}')
    monkeypatch.setattr(faster, "TABLE", tmp_path / "faster.json")
    assert device.choose_rollout(ModelSpec(), CARD) == ("transformers", "measured on some card")
    assert device.choose_rollout(ModelSpec(rollout="cuda_graphs"), CARD)[0] == "cuda_graphs"


def test_graphs_of_unsloth_are_an_error() -> None:
    error = device.unsupported_error(load_recipe("rarl", ["model.rollout=cuda_graphs", "model.backend=unsloth"]))
    assert isinstance(error, RecipeError)
    assert "unsloth samples with its own code" in error.what
    assert (error.where, error.fix) == ("model.rollout", "use model.rollout=auto")
    assert device.unsupported_error(load_recipe("rarl", ["model.rollout=cuda_graphs"])) is None
