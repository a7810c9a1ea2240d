"""Group relative policy optimization (GRPO)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lowmed.methods.method import MethodSpec, RewardSpec
from lowmed.methods.mix import Mix
from lowmed.section import Positive, counterpart

CLIPPED_LOSSES = ("grpo", "dapo", "dr_grpo", "bnpo")  # those with the clipped ratio of PPO


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
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="sample from the most likely tokens whose probabilities reach this sum; 1 = from all",
        json_schema_extra=counterpart("GRPOConfig: top_p"),
    )
    top_k: Annotated[int, Field(ge=0)] = Field(
        0,
        description="sample from this many most likely tokens; 0 = from all",
        json_schema_extra=counterpart("GRPOConfig: top_k"),
    )
    min_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="sample from tokens that have at least this share of the highest probability; null = from all",
        json_schema_extra=counterpart("GRPOConfig: min_p"),
    )
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo"] = Field(
        "dapo",
        description="token losses are averaged over each completion (`grpo`), the step (`dapo`), a constant "
        "(`dr_grpo`) or the forward pass (`bnpo`); `cispo` clips the ratio and keeps every token's gradient, averaged "
        "as `dapo`; `sapo` replaces clipping by a sigmoid, averaged as `grpo`",
        json_schema_extra=counterpart("GRPOConfig: loss_type"),
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group",
        description="advantages are divided by the standard deviation of the rewards of the group or batch, or not",
        json_schema_extra=counterpart("GRPOConfig: scale_rewards"),
    )
    baseline: Literal["group_mean", "leave_one_out"] = Field(
        "group_mean",
        description="what is subtracted from a reward: the mean of its group, or of the other completions of its "
        "group, as in RLOO",
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
        description="upper clipping range; null = the same as epsilon. With `cispo` the largest ratio itself",
        json_schema_extra=counterpart("GRPOConfig: epsilon_high"),
    )
    delta: Annotated[float, Field(gt=1)] | None = Field(
        None,
        description="largest ratio for negative advantages, which `epsilon_high` does not limit; null = no limit",
        json_schema_extra=counterpart("GRPOConfig: delta"),
    )
    importance_sampling_level: Literal["token", "sequence"] = Field(
        "token",
        description="a ratio for each token, or one for each completion, as in GSPO",
        json_schema_extra=counterpart("GRPOConfig: importance_sampling_level"),
    )
    sapo_temperature_pos: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="steepness of the sigmoid of `sapo` for positive advantages",
        json_schema_extra=counterpart("GRPOConfig: sapo_temperature_pos"),
    )
    sapo_temperature_neg: Annotated[float, Field(gt=0)] = Field(
        1.05,
        description="steepness of the sigmoid of `sapo` for negative advantages",
        json_schema_extra=counterpart("GRPOConfig: sapo_temperature_neg"),
    )
    entropy_coef: float = Field(
        0.0,
        description="weight of the mean entropy of the tokens, which the loss rewards; if it is not 0, every row "
        "is trained",
        json_schema_extra=counterpart("GRPOConfig: entropy_coef"),
    )
    top_entropy_quantile: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="share of the tokens, those of highest entropy, that are trained",
        json_schema_extra=counterpart("GRPOConfig: top_entropy_quantile"),
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
    dynamic_sampling: Annotated[int, Field(ge=0)] = Field(
        0,
        description="rounds in which groups without different rewards are replaced by groups of other questions, as in "
        "DAPO; each round samples at most as many completions as were missing",
    )
    mix: Mix | None = Field(
        None, description="also train on the reference completions of the questions; null = on sampled ones only"
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

    @property
    def spare_draws(self) -> int:
        """Questions that are scheduled in addition, to replace groups without different rewards."""
        return self.draws * self.dynamic_sampling

    @property
    def mixes_references(self) -> bool:
        """Whether the method also trains on reference completions."""
        return self.mix is not None

    @property
    def trains_every_row(self) -> bool:
        """Whether rows without an advantage have a gradient too, by a KL term or the entropy."""
        return self.beta > 0 or self.entropy_coef != 0 or self.top_entropy_quantile < 1

    @property
    def notes(self) -> tuple[str, ...]:
        """What the settings of ratios do not change, and what the time estimate does not contain, as lines."""
        lines = []
        settings = {
            "importance_sampling_level=sequence": self.importance_sampling_level == "sequence",
            "delta": self.delta is not None,
            "loss_type=cispo": self.loss_type == "cispo",
            "loss_type=sapo": self.loss_type == "sapo",
        }
        if self.num_iterations == 1 and (unused := [name for name, is_set in settings.items() if is_set]):
            lines.append(
                f"every completion trains once (num_iterations=1), so every ratio is 1, and {' and '.join(unused)} "
                "does not change the direction of any token's gradient"
            )
        if self.dynamic_sampling:
            lines.append(
                f"a step may sample up to {self.dynamic_sampling + 1} times its completions (dynamic_sampling); "
                "estimates of time count them once"
            )
        return tuple(lines)

    @property
    def own_trainer_settings(self) -> tuple[str, ...]:
        """The settings in use that TRL's own trainer does not have."""
        used = {
            "baseline=leave_one_out": self.baseline == "leave_one_out",
            "dynamic_sampling": self.dynamic_sampling > 0,
            "mix": self.mix is not None,
        }
        return tuple(name for name, is_used in used.items() if is_used)

    @model_validator(mode="after")
    def _settings_agree(self) -> "GrpoSpec":
        if self.loss_type == "cispo" and (self.epsilon_high is None or self.epsilon_high < 1):
            raise ValueError("loss_type=cispo needs epsilon_high, the largest probability ratio: 5.0 is usual")
        if self.delta is not None and self.loss_type not in CLIPPED_LOSSES:
            raise ValueError(f"delta limits the clipped ratio, which loss_type={self.loss_type} does not have")
        upper = 1 + (self.epsilon_high or self.epsilon)
        if self.delta is not None and self.delta <= upper:
            raise ValueError(f"delta ({self.delta}) is not above 1 + epsilon_high ({upper:g})")
        alone = self.scale_rewards != "batch" and self.multi_objective_aggregation == "sum_then_normalize"
        if self.dynamic_sampling and not alone:
            raise ValueError(
                "dynamic_sampling replaces groups, so each must be normalized alone: scale_rewards=group or none, "
                "multi_objective_aggregation=sum_then_normalize"
            )
        if self.baseline == "leave_one_out" and not (alone and self.scale_rewards == "none"):
            raise ValueError(
                "baseline=leave_one_out does not normalize rewards: set scale_rewards=none and "
                "multi_objective_aggregation=sum_then_normalize"
            )
        if self.mix and self.mix.off_policy and self.loss_type not in ("dapo", "dr_grpo"):
            raise ValueError(f"mix.kind=luffy sums over tokens: set loss_type to dapo or dr_grpo, not {self.loss_type}")
        if self.mix and self.mix.off_policy and not alone:
            raise ValueError(
                "mix.kind=luffy compares the reference completion with its group: set scale_rewards to group or none, "
                "and multi_objective_aggregation=sum_then_normalize"
            )
        return self

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
            update={
                "skip_zero_variance_groups": False,
                "mask_truncated_completions": False,
                "dynamic_sampling": 0,
                "canary_steps": None,
            }
        )
