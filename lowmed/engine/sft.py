"""Supervised tuning: TRL's trainer with the recipe's settings, loss on the completion alone."""

from typing import Any

from trl import SFTConfig, SFTTrainer

from lowmed.engine.load import Loaded


def build(loaded: Loaded, dataset: Any, common: dict[str, Any]) -> SFTTrainer:
    """The trainer.

    Args:
        loaded: model with its adapter, and processor.
        dataset: columns `prompt`, `completion`, `images`, already in training order.
        common: the training arguments that all methods share.
    """
    arguments = SFTConfig(
        max_length=None,  # truncation would cut image tokens
        completion_only_loss=True,
        train_sampling_strategy="sequential",  # the rows stand in their order already
        **common,
    )
    return SFTTrainer(model=loaded.model, args=arguments, train_dataset=dataset, processing_class=loaded.processor)
