"""Group relative policy optimization (GRPO)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lowmed.methods.method import MethodSpec, RewardSpec
from lowmed.section import Positive, counterpart


class GrpoSpec(MethodSpec):
    """GRPO: sample a group of completions per prompt, score them, and reinforce the better ones of each group."""

    trainer: ClassVar[str] = "grpo"

    kind: Literal["grpo"] = Field(description="selects the method")
    num_generations: Annotated[int, Field(ge=2)] = Field(
        8,
        description="completions sampled per question: the size of a group",
        json_schema_extra=counterpart("GRPOConfig: num_generations"),
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        1.0, description="sampling temperature", json_schema_extra=counterpart("GRPOConfig: temperature")
    )
    max_completion_length: Positive = Field(
        256,
        description="longer completions are truncated; in tokens",
        json_schema_extra=counterpart("GRPOConfig: max_completion_length"),
    )
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field(
        "dapo",
        description="token losses are averaged over each completion (`grpo`), the step (`dapo`), a constant "
        "(`dr_grpo`) or the forward pass (`bnpo`)",
        json_schema_extra=counterpart("GRPOConfig: loss_type"),
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group",
        description="advantages are divided by the standard deviation of the rewards of the group or batch, or not",
        json_schema_extra=counterpart("GRPOConfig: scale_rewards"),
    )
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = Field(
        "sum_then_normalize",
        description="whether rewards are summed before or after normalization within the group",
        json_schema_extra=counterpart("GRPOConfig: multi_objective_aggregation"),
    )
    beta: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="weight of the KL term; above 0 costs one more forward pass",
        json_schema_extra=counterpart("GRPOConfig: beta"),
    )
    epsilon: Annotated[float, Field(gt=0)] = Field(
        0.2,
        description="lower clipping range of the probability ratio",
        json_schema_extra=counterpart("GRPOConfig: epsilon"),
    )
    epsilon_high: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="upper clipping range; null = the same as epsilon",
        json_schema_extra=counterpart("GRPOConfig: epsilon_high"),
    )
    num_iterations: Positive = Field(
        1,
        description="optimizer steps on the same completions",
        json_schema_extra=counterpart("GRPOConfig: num_iterations"),
    )
    mask_truncated_completions: bool = Field(
        True,
        description="exclude truncated completions from the loss",
        json_schema_extra=counterpart("GRPOConfig: mask_truncated_completions"),
    )
    skip_zero_variance_groups: bool = Field(
        True, description="skip the forward pass of groups whose completions all have the same reward"
    )
    canary_steps: Positive | None = Field(
        20, description="steps between checks that known reward hacks earn nothing; null = never"
    )
    rewards: Annotated[tuple[RewardSpec, ...], Field(min_length=1)] = Field(
        description="the rewards; `lowmed rewards list` names them",
        json_schema_extra=counterpart("GRPOTrainer: reward_funcs"),
    )
    allow_abstaining: tuple[str, ...] = Field(
        (), description="names of rewards that may abstain on most training questions; any other one is an error"
    )

    @property
    def completions_per_prompt(self) -> int:
        """The size of a group."""
        return self.num_generations

    @property
    def max_sampled_tokens(self) -> int:
        """Maximum number of tokens of a sampled completion."""
        return self.max_completion_length

    @property
    def sampling_temperature(self) -> float:
        """Temperature of the sampled completions."""
        return self.temperature

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps on the same completions."""
        return self.num_iterations

    @property
    def scoring_passes(self) -> int:
        """One for the reference policy of the KL term; one for the sampling policy if rows are used more than once."""
        return (self.beta > 0) + (self.num_iterations > 1)

    @property
    def keeps_reference(self) -> bool:
        """Whether the KL term needs a frozen copy of the initial adapter."""
        return self.beta > 0

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The rewards."""
        return self.rewards

    @property
    def abstaining_allowed(self) -> tuple[str, ...]:
        """The names in `allow_abstaining`."""
        return self.allow_abstaining

    @model_validator(mode="after")
    def _allowed_rewards_exist(self) -> "GrpoSpec":
        names = [reward.name for reward in self.rewards]
        if unknown := [name for name in self.allow_abstaining if name not in names]:
            raise ValueError(f"allow_abstaining names `{unknown[0]}`, and the rewards are {', '.join(names)}")
        return self

    def limited_to(self, max_completion_length: int) -> "GrpoSpec":
        """The method with shorter completions."""
        return self.model_copy(update={"max_completion_length": max_completion_length})

    def training_every_row(self) -> "GrpoSpec":
        """The method with every row trained: completions of random weights earn nothing and never end."""
        return self.model_copy(
            update={"skip_zero_variance_groups": False, "mask_truncated_completions": False, "canary_steps": None}
        )
