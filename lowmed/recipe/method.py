"""The method of a recipe: SFT, GRPO and its rewards, and the rule that chooses between the two."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from lowmed.recipe.section import Positive, Rate, Section, Share


class RewardSpec(Section):
    """One reward, its weight, and its own options beside the name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="one of `lowmed rewards list`")
    weight: Annotated[float, Field(ge=0)] = Field(1.0, description="what its value is multiplied by")
    gate: bool = Field(False, description="a reply that does not earn this one in full earns nothing at all")

    @property
    def options(self) -> dict[str, Any]:
        """What the reward itself is told."""
        return dict(self.__pydantic_extra__ or {})


class MethodSpec(Section):
    """What every method of training has."""

    max_steps: Positive = Field(120, description="optimizer steps")
    prompts_per_step: Positive = Field(8, description="questions that one optimizer step sees")
    learning_rate: Rate = Field(2e-5, description="of AdamW, at its highest")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="how the learning rate falls to 0, if it does"
    )
    warmup_ratio: Share = Field(0.0, description="share of the updates over which the learning rate rises")
    max_grad_norm: Annotated[float, Field(gt=0)] = Field(0.5, description="a longer gradient is cut to this length")
    save_steps: Positive = Field(20, description="updates between checkpoints; a killed run loses no more")
    per_device_train_batch_size: Positive | None = Field(
        None, description="rows in one forward pass; open = derived from the card"
    )
    gradient_checkpointing: bool | None = Field(
        None, description="recompute activations in the backward pass; open = derived from the card"
    )

    @property
    def rows_per_step(self) -> int:
        """Rows that one optimizer step sees."""
        return self.prompts_per_step

    @model_validator(mode="after")
    def _rows_divide(self) -> "MethodSpec":
        if self.per_device_train_batch_size and self.rows_per_step % self.per_device_train_batch_size:
            rows = f"the {self.rows_per_step} rows of an update"
            raise ValueError(f"per_device_train_batch_size ({self.per_device_train_batch_size}) does not divide {rows}")
        return self


class SftSpec(MethodSpec):
    """Supervised tuning on the reference completions; the loss is on the completion alone."""

    kind: Literal["sft"] = Field(description="names the method")
    prompts_per_step: Positive = Field(16, description="questions that one optimizer step sees")
    learning_rate: Rate = Field(1e-4, description="of AdamW, at its highest")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="how the learning rate falls to 0, if it does"
    )
    warmup_ratio: Share = Field(0.05, description="share of the updates over which the learning rate rises")


class GrpoSpec(MethodSpec):
    """Group-relative policy optimisation: sample completions to a question, reward them, compare within the group."""

    kind: Literal["grpo"] = Field(description="names the method")
    num_generations: Annotated[int, Field(ge=2)] = Field(8, description="replies sampled per question")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the sampled replies")
    max_completion_length: Positive = Field(256, description="a reply longer than this is cut")
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field(
        "dapo", description="what token losses are averaged over: each reply, the update, a constant, the forward pass"
    )
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="what the advantage is divided by")
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = Field(
        "sum_then_normalize", description="whether rewards are summed before or after they are compared in the group"
    )
    beta: Annotated[float, Field(ge=0)] = Field(0.0, description="weight of the KL term; above 0: one more forward")
    epsilon: Annotated[float, Field(gt=0)] = Field(0.2, description="how far a probability ratio counts, downwards")
    epsilon_high: Annotated[float, Field(gt=0)] | None = Field(None, description="and upwards; open = the same")
    num_iterations: Positive = Field(1, description="optimizer steps on the same replies")
    mask_truncated_completions: bool = Field(True, description="do not train on replies that were cut")
    skip_zero_variance_groups: bool = Field(
        True, description="leave groups whose replies all earned the same out of the forward"
    )
    canary_steps: Positive | None = Field(
        20, description="updates between checks that known hacks earn nothing; empty = never"
    )
    rewards: Annotated[tuple[RewardSpec, ...], Field(min_length=1)] = Field(
        description="what a reply earns; `lowmed rewards list` names them"
    )

    @property
    def rows_per_step(self) -> int:
        """Completions that one optimizer step sees."""
        return self.num_generations * self.prompts_per_step


class BridgeSpec(Section):
    """When RL is paid for: where the model has support, else a round of SFT first, then measure again."""

    support: Share = Field(
        0.25, description="share of questions right beyond chance and blindness in K replies from which on RL follows"
    )
    samples: Annotated[int, Field(ge=2, le=64)] = Field(16, description="K: replies sampled per question")
    questions: Positive = Field(200, description="training questions that support is measured on")
    rounds: Positive = Field(3, description="rounds of SFT before it is given up")
    sft: SftSpec = Field(description="what one round of SFT is")
