"""What the tests of the trainers of DPO and KTO share: nano with a random adapter, and comparisons of losses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.engine import chat, device, load, patches
from lowmed.nano import phantom
from lowmed.recipe import LoraSpec, ModelSpec

MODEL = ModelSpec(name="nano", load_in="16bit")
FAMILY = prompt.family("reasoning")
QUESTIONS = 3
BETA = 0.3


def nano_with_adapter() -> load.Loaded:
    """nano in 32 bits with a random adapter."""
    base = load.load_base(MODEL, device.find_device(MODEL))
    torch.manual_seed(3)
    loaded = load.with_trainable_adapter(base, LoraSpec(), "nano")
    patches.use_torch_log_probs()
    move(loaded.model)
    return loaded


def move(model: Any) -> None:
    for name, weight in model.named_parameters():
        if "lora_B.default" in name:
            weight.data.add_(torch.randn_like(weight) * 0.02)


@contextmanager
def restored(model: Any) -> Iterator[None]:
    """Afterwards the adapter is as before, and there is no copy of it."""
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    yield
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
    for name, weight in model.named_parameters():
        if name in before:
            weight.data.copy_(before[name])


def batch(trainer: Any) -> Any:
    return trainer.data_collator([trainer.train_dataset[number] for number in range(QUESTIONS)])


def gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    torch.autograd.backward(loss)
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad])


def require_equal(ours: tuple[torch.Tensor, torch.Tensor], expected: tuple[torch.Tensor, torch.Tensor]) -> None:
    (loss, slope), (expected_loss, expected_slope) = ours, expected
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert expected_slope.norm() > 1e-3
    assert (slope - expected_slope).norm() < 1e-4 * expected_slope.norm()


def naive_log_probs(nano: load.Loaded, sample: Any, image: Any, completion: str) -> torch.Tensor:
    """Log-probability of each token of a completion, by a forward pass of transformers over this row alone."""
    text = chat.render(nano.processor, FAMILY, sample) + completion + chat.turn_end(nano.tokenizer)
    count = len(nano.tokenizer(completion + chat.turn_end(nano.tokenizer), add_special_tokens=False)["input_ids"])
    inputs = nano.processor(text=[text], images=[image] if image else None, return_tensors="pt")
    logits = nano.model(**inputs).logits[0, :-1].log_softmax(-1)
    log_probs: torch.Tensor = logits.gather(-1, inputs["input_ids"][0, 1:, None])[-count:, 0]
    return log_probs


def image_of(nano: load.Loaded, sample: Any) -> Any:
    return prepare(phantom.open_image(sample.images[0]), nano.policy)
