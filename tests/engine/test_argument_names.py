"""lowmed passes arguments under the names of the installed transformers, at both ends of the window of versions."""

import warnings
from pathlib import Path

import pytest
import torch
from conftest import Lowmed
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, TrainingArguments

from lowmed.engine import argument_names


@pytest.mark.parametrize("checkpointing", [False, True])
def test_checkpointing_is_set_without_a_warning(checkpointing: bool, tmp_path: Path) -> None:
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "gradient_checkpointing": checkpointing}
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        arguments = TrainingArguments(**argument_names.training_arguments(settings))
    assert arguments.gradient_checkpointing == checkpointing


def test_the_cache_is_filled_without_a_warning() -> None:
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    model = AutoModelForCausalLM.from_config(config).model
    cache = DynamicCache(config=config)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=True, **argument_names.with_cache(model, cache))
    assert cache.get_seq_length() == 3


@pytest.mark.slow
def test_training_and_evaluation_print_no_warning(lowmed: Lowmed) -> None:
    for command in (
        ("sft", "--recipe", "rarl-sft", "--nano", "method.max_steps=1", "--out", "sft"),
        ("grpo", "--recipe", "rarl", "--nano", "method.max_steps=1", "--out", "grpo"),
        ("eval", "grpo", "--questions", "2"),
    ):
        result = lowmed(*command)
        assert result.returncode == 0, result.stderr
        assert "Warning" not in result.stdout + result.stderr
