"""Changes of other libraries: each is applied where it should be, and temporary ones are undone."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Trainer

from lowmed.engine import patches


def test_the_module_imports_no_library_that_unsloth_must_precede() -> None:
    code = (
        "import sys; from lowmed.engine import patches; patches.configure_libraries(); patches.interpret_triton();"
        "early = {'torch', 'transformers', 'trl', 'peft', 'bitsandbytes'} & set(sys.modules); assert not early, early"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_environment_variables_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    patches.configure_libraries()
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "0"
    assert os.environ.pop("DO_NOT_TRACK") == "1"


def test_temporary_changes_are_undone_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(Trainer, "train", lambda self: "trained")
    original = Trainer.train
    with pytest.raises(ZeroDivisionError), patches.before_training(started.append):
        trainer = object.__new__(Trainer)
        assert trainer.train() == "trained"
        raise ZeroDivisionError
    assert started == [trainer]
    assert Trainer.train is original

    config = SimpleNamespace(_attn_implementation="sdpa")
    with pytest.raises(ZeroDivisionError), patches.use_attention(config, "shared_prompt"):
        assert config._attn_implementation == "shared_prompt"
        raise ZeroDivisionError
    assert config._attn_implementation == "sdpa"


def test_the_adapter_is_in_32_bits_with_its_values_after_the_trainer_is_built() -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    weight = model.weight.detach().clone()

    def build() -> Any:
        model.weight.data = model.weight.data.to(torch.bfloat16)  # as TRL does for a 4-bit base
        return SimpleNamespace(model=model)

    trainer = patches.build_with_float32_adapter(build, model)
    assert torch.equal(trainer.model.weight, weight)


def test_settings_padding_and_messages_that_unsloth_changes_are_restored() -> None:
    class Config:
        epsilon_high: float | None

        def __init__(self, epsilon_high: float | None = None, beta: float = 0.0) -> None:
            self.epsilon_high = 0.28
            self.beta = beta

    class Tokenizer:
        padding_side = "right"

    class RewritingTrainer:
        def __init__(self) -> None:
            self.processing_class = SimpleNamespace(tokenizer=Tokenizer())

        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
            return completions

    patches.undo_unsloth_overrides(Config, RewritingTrainer)
    assert Config(epsilon_high=None).epsilon_high is None
    assert Config(beta=0.1).epsilon_high == 0.28  # not in the recipe's settings
    trainer = RewritingTrainer()
    assert trainer.processing_class.tokenizer.padding_side == "left"
    message = [{"role": "assistant", "content": "yes"}]
    assert trainer._calculate_rewards(None, None, ["yes", message], None) == [message, message]
