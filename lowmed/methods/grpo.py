"""Group-relative policy optimization."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lowmed.methods.method import MethodSpec, RewardSpec
from lowmed.schema import Positive


class GrpoSpec(MethodSpec):
    """Group-relative policy optimization: sample a group of completions per prompt, score them, compare in the group."""

    trainer: ClassVar[str] = "grpo"

    kind: Literal["grpo"] = Field(description="names the method")
    num_generations: Annotated[int, Field(ge=2)] = Field(8, description="completions sampled per question")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="sampling temperature")
    max_completion_length: Positive = Field(256, description="longer completions are truncated, in tokens")
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field(
        "dapo",
        description="what token losses are averaged over: each completion, the step, a constant, the forward pass",
    )
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="divisor of the advantages")
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = Field(
        "sum_then_normalize", description="whether rewards are summed before or after the comparison in the group"
    )
    beta: Annotated[float, Field(ge=0)] = Field(0.0, description="weight of the KL term; above 0: one more forward")
    epsilon: Annotated[float, Field(gt=0)] = Field(0.2, description="lower clipping range of the probability ratio")
    epsilon_high: Annotated[float, Field(gt=0)] | None = Field(
        None, description="upper clipping range; empty = the same as epsilon"
    )
    num_iterations: Positive = Field(1, description="optimizer steps on the same completions")
    mask_truncated_completions: bool = Field(True, description="do not train on truncated completions")
    skip_zero_variance_groups: bool = Field(
        True, description="leave groups whose completions all earned the same out of the forward pass"
    )
    canary_steps: Positive | None = Field(
        20, description="steps between checks that known hacks earn nothing; empty = never"
    )
    rewards: Annotated[tuple[RewardSpec, ...], Field(min_length=1)] = Field(
        description="what completions are paid for; `lowmed rewards list` names them"
    )

    @property
    def completions_per_prompt(self) -> int:
        """The size of a group."""
        return self.num_generations

    @property
    def max_sampled_tokens(self) -> int:
        """Most tokens of a sampled completion."""
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
        """One for the reference policy of the KL term, one for the policy that sampled where its rows are used again."""
        return (self.beta > 0) + (self.num_iterations > 1)

    @property
    def keeps_reference(self) -> bool:
        """Whether a KL term needs a frozen copy of the adapter."""
        return self.beta > 0

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The rewards."""
        return self.rewards

    def limited_to(self, max_completion_length: int) -> "GrpoSpec":
        """The same method with shorter completions."""
        return self.model_copy(update={"max_completion_length": max_completion_length})

    def training_every_row(self) -> "GrpoSpec":
        """The same method with every row trained: random weights earn no reward and end no completion."""
        return self.model_copy(
            update={"skip_zero_variance_groups": False, "mask_truncated_completions": False, "canary_steps": None}
        )
