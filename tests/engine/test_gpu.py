"""What only a card can show, on the embedded model."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lowmed
from PIL import Image

from lowmed import prompt, recipe
from lowmed.engine import load, machine
from lowmed.engine.generate import encode
from lowmed.sample import Sample

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")]
METHODS = [("sft", "rarl-sft"), ("grpo", "rarl")]
NANO = recipe.Model(name="nano", load_in="16bit")


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def on_card(precision: machine.Precision | None = None) -> load.Loaded:
    """nano on the card with an adapter that already changes what the model says."""
    here = machine.find(NANO)
    if precision:
        here = machine.Machine(here.device, here.card, here.memory_gib, precision)
    torch.manual_seed(0)
    loaded = load.with_trainable_adapter(load.base(NANO, here), recipe.Lora(rank=4), "nano")
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return loaded


def inputs_of(loaded: load.Loaded) -> Any:
    samples = [
        Sample(str(row), "Is there a mass?", "yes", "closed", group=name, source="made", images=(name,))
        for row, name in enumerate("abacab")
    ]
    shade = {"a": 0, "b": 90, "c": 180}

    def open_image(name: str) -> Image.Image:
        grey = Image.linear_gradient("L").resize((112, 140))
        return grey.point(lambda value: (value + shade[name]) % 256).convert("RGB")

    return encode(loaded, samples, prompt.family("reasoning"), open_image)


def loss_and_gradient(loaded: load.Loaded, inputs: Any) -> tuple[float, torch.Tensor]:
    loaded.model.zero_grad()
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    loss = loaded.model(**inputs, labels=labels).loss
    loss.backward()
    gradients = [weight.grad.float().flatten() for weight in loaded.model.parameters() if weight.grad is not None]
    return float(loss), torch.cat(gradients)


@pytest.mark.parametrize(("kind", "recipe"), METHODS)
@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
def test_a_short_run_trains_on_the_card(kind: str, recipe: str, load_in: str, lowmed: Lowmed, tmp_path: Path) -> None:
    ended = lowmed(kind, "--recipe", recipe, "--nano", "method.updates=3", f"model.load_in={load_in}", "--out", "run")
    assert ended.returncode == 0, ended.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["precision"] in ("bf16", "fp16")
    assert record["card"] != "CPU"
    assert rows(tmp_path / "run")[-1]["adapter_norm"] > 0
    measured = lowmed("eval", "run", "--limit", "20", "--json")
    assert measured.returncode == 0, measured.stderr


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_frozen_tower_changes_loss_and_gradient_by_rounding_alone(checkpointing: bool) -> None:
    loaded = on_card()
    if checkpointing:
        loaded.model.gradient_checkpointing_enable()
        loaded.model.enable_input_require_grads()
    loaded.model.train()
    inputs = inputs_of(loaded)
    loss, gradient = loss_and_gradient(loaded, inputs)
    again, same = loss_and_gradient(loaded, inputs)
    assert loaded.tower is not None
    assert (loaded.tower.asked, loaded.tower.encoded) == (12, 3)
    assert again == pytest.approx(loss, rel=1e-3)
    del loaded.model.base_model.model.model.visual.__dict__["forward"]
    stock, stock_gradient = loss_and_gradient(loaded, inputs)
    print(f"loss {loss} with, {stock} without; gradient off by {float((gradient - stock_gradient).norm())}")
    assert loss == pytest.approx(stock, rel=1e-2)
    for other in (same, stock_gradient):
        assert float(torch.nn.functional.cosine_similarity(gradient, other, dim=0)) > 0.999


def test_no_feature_stays_on_the_card_between_batches() -> None:
    loaded = on_card()
    loaded.model.train()
    loss_and_gradient(loaded, inputs_of(loaded))
    assert loaded.tower is not None
    kept = [tensor for tensors in loaded.tower.kept._tensors.values() for tensor in tensors]
    assert len(kept) == 3
    assert {tensor.device.type for tensor in kept} == {"cpu"}


def test_half_precision_as_on_a_t4_gives_finite_numbers() -> None:
    loaded = on_card("fp16")
    loaded.model.train()
    with torch.autocast("cuda", dtype=torch.float16):
        loss, gradient = loss_and_gradient(loaded, inputs_of(loaded))
    assert math.isfinite(loss)
    assert bool(gradient.isfinite().all())
    assert {weight.dtype for weight in loaded.model.parameters() if weight.requires_grad} == {torch.float32}


@pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="unsloth is not installed")
@pytest.mark.parametrize(("kind", "recipe"), METHODS)
def test_both_backends_begin_with_the_same_loss(kind: str, recipe: str, lowmed: Lowmed, tmp_path: Path) -> None:
    first = {}
    for backend in ("transformers", "unsloth"):
        ended = lowmed(
            kind, "--recipe", recipe, "--nano", "method.updates=2", "model.load_in=16bit",
            f"model.backend={backend}", "--out", backend,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr[-3000:]
        assert json.loads((tmp_path / backend / "run.json").read_text())["backend"] == backend
        first[backend] = rows(tmp_path / backend)[0]
        print(backend, first[backend])
    # GRPO's first loss is near 0 whatever the replies: the ratio is 1 and the advantages of a group sum to 0.
    assert first["unsloth"]["loss"] == pytest.approx(first["transformers"]["loss"], rel=2e-2, abs=2e-2)
    assert not list(tmp_path.glob("unsloth_compiled_cache*"))
