"""GRPO: TRL's trainer with the recipe's settings."""

from typing import Any

from trl import GRPOConfig, GRPOTrainer

from lowmed import recipe
from lowmed.engine.load import Loaded
from lowmed.engine.rollouts import RewardFunction


def build(
    method: recipe.Grpo,
    loaded: Loaded,
    dataset: Any,
    functions: list[RewardFunction],
    common: dict[str, Any],
) -> GRPOTrainer:
    """The trainer, its rollouts drawn by `generate`.

    Args:
        method: settings of the recipe.
        loaded: model with its adapter, and processor.
        dataset: columns `prompt`, `images`, `row`, already in training order.
        functions: one a reward, in the recipe's order.
        common: the training arguments that all methods share.
    """
    arguments = GRPOConfig(
        num_generations=method.group_size,
        max_completion_length=method.max_new_tokens,
        temperature=method.temperature,
        beta=method.beta,
        loss_type=method.loss,
        scale_rewards=method.scale_rewards,
        reward_weights=[reward.weight for reward in method.rewards],
        mask_truncated_completions=True,
        shuffle_dataset=False,  # the rows stand in their order already
        generation_kwargs={"suppress_tokens": loaded.suppressed},
        log_completions=False,  # rollouts.jsonl holds them all; TRL's own table would copy the images
        **common,
    )
    return GRPOTrainer(
        model=loaded.model,
        reward_funcs=list(functions),
        args=arguments,
        train_dataset=dataset,
        processing_class=loaded.processor,
    )
