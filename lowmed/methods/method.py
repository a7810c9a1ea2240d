"""The base class of training methods: the settings that all share, and the interface to planner and engine.

Planner and engine use this interface and never test which method a recipe uses.
"""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from lowmed.section import Positive, Rate, Section, Share, counterpart


class RewardSpec(Section):
    """One reward: its name, its weight, and the options of that reward (`lowmed rewards show NAME`)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="a name from `lowmed rewards list`, or `FILE.py:FUNCTION`")
    weight: Annotated[float, Field(ge=0)] = Field(
        1.0,
        description="factor of the reward in the sum of rewards",
        json_schema_extra=counterpart("GRPOConfig: reward_weights"),
    )
    gate: bool = Field(False, description="a completion that scores below 1 here gets a total reward of 0")

    @property
    def options(self) -> dict[str, Any]:
        """The options of the reward itself."""
        return dict(self.__pydantic_extra__ or {})


class MethodSpec(Section):
    """Settings that all methods share.

    Attributes:
        trainer: module of `lowmed.engine` whose `build(job)` returns the trainer. Set by each subclass.
        with_completion: whether training rows have a `completion` column with the reference completion.
    """

    trainer: ClassVar[str]
    with_completion: ClassVar[bool] = False

    kind: str
    max_steps: Positive = Field(
        120, description="number of optimizer steps", json_schema_extra=counterpart("TrainingArguments: max_steps")
    )
    epochs: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="passes over the training questions, in place of `max_steps`, which is derived when the data are "
        "known; with several data sets as many draws as questions",
        json_schema_extra=counterpart("TrainingArguments: num_train_epochs"),
    )
    prompts_per_step: Positive = Field(
        8,
        description="questions in one optimizer step",
        json_schema_extra=counterpart(
            "GRPOConfig: per_device_train_batch_size * gradient_accumulation_steps / num_generations"
        ),
    )
    learning_rate: Rate = Field(
        2e-5,
        description="peak learning rate of AdamW",
        json_schema_extra=counterpart("TrainingArguments: learning_rate"),
    )
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="learning rate schedule; linear and cosine decay to 0",
        json_schema_extra=counterpart("TrainingArguments: lr_scheduler_type"),
    )
    warmup_ratio: Share = Field(
        0.0,
        description="share of the steps over which the learning rate rises from 0",
        json_schema_extra=counterpart("TrainingArguments: warmup_steps / max_steps"),
    )
    max_grad_norm: Annotated[float, Field(gt=0)] = Field(
        0.5,
        description="gradients are clipped to this norm",
        json_schema_extra=counterpart("TrainingArguments: max_grad_norm"),
    )
    save_steps: Positive = Field(
        20,
        description="steps between checkpoints; a killed run loses at most this many",
        json_schema_extra=counterpart("TrainingArguments: save_steps"),
    )
    per_device_train_batch_size: Positive | None = Field(
        None,
        description="rows in one forward pass; null = derived from the GPU",
        json_schema_extra=counterpart("TrainingArguments: per_device_train_batch_size"),
    )
    gradient_checkpointing: bool | None = Field(
        None,
        description="recompute activations in the backward pass; null = derived from the GPU",
        json_schema_extra=counterpart("TrainingArguments: gradient_checkpointing"),
    )

    @property
    def draws(self) -> int:
        """Questions that a run draws: those of a step, once for all steps on the same rows."""
        return self.prompts_per_step * -(-self.max_steps // self.steps_per_batch)

    def steps_for(self, questions: int) -> int:
        """The optimizer steps of `epochs` passes over a number of questions, rounded up."""
        passes = 1.0 if self.epochs is None else self.epochs
        return max(1, math.ceil(passes * questions / self.prompts_per_step)) * self.steps_per_batch

    @property
    def rows_per_step(self) -> int:
        """Rows in one optimizer step: completions where the method samples them, else questions."""
        return self.prompts_per_step * max(1, self.completions_per_prompt)

    @property
    def completions_per_prompt(self) -> int:
        """Completions that the policy samples per prompt; 0 where the method trains on reference completions."""
        return 0

    @property
    def max_sampled_tokens(self) -> int:
        """Maximum number of tokens of a sampled completion; 0 where none are sampled."""
        return 0

    @property
    def sampling_temperature(self) -> float:
        """Temperature of the sampled completions."""
        return 1.0

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps on the same rows. Checkpoints do not hold the rows, so none is saved between these steps."""
        return 1

    @property
    def preferences(self) -> Literal["pairs", "unpaired"] | None:
        """The key of `data` that names the completions to train on, for methods that have such a file."""
        return None

    @property
    def drawn_unit(self) -> str:
        """What a run draws, in the plural."""
        return "labeled completions" if self.preferences == "unpaired" else "questions"

    @property
    def completions_per_row(self) -> int:
        """Completions that the model reads for each row."""
        return 1

    @property
    def prompts_per_row(self) -> int:
        """Distinct prompts of these completions."""
        return 1

    @property
    def altered_image(self) -> str | None:
        """The control of `lowmed eval` with which a row's prompt is repeated; None if it is not."""
        return None

    @property
    def scoring_passes(self) -> int:
        """Forward passes without gradients over the rows of a batch, before the one with gradients."""
        return 0

    @property
    def scored_completions_per_row(self) -> int:
        """Completions of each row in such a pass, at most."""
        return self.completions_per_row

    @property
    def keeps_reference(self) -> bool:
        """Whether the method keeps a frozen copy of the initial adapter, e.g. for a KL term."""
        return False

    @property
    def base_is_reference(self) -> bool:
        """Whether the base takes the place of that copy where training starts from a new adapter."""
        return False

    @property
    def spare_draws(self) -> int:
        """Questions that are scheduled after those of all steps, for steps that need more."""
        return 0

    @property
    def mixes_references(self) -> bool:
        """Whether a method that samples completions also trains on reference completions."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user may not expect of these settings, as lines."""
        return ()

    @property
    def own_trainer_settings(self) -> tuple[str, ...]:
        """The settings in use that need lowmed's forward pass."""
        return ()

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The rewards of the method; empty where it uses none."""
        return ()

    @property
    def abstaining_allowed(self) -> tuple[str, ...]:
        """Names of the rewards that may abstain on most training questions."""
        return ()

    def balance_warning(self, good: int, bad: int) -> str | None:
        """A warning if the weights of good and bad completions do not fit their numbers; None without such weights."""
        del good, bad
        return None

    def limited_to(self, max_completion_length: int) -> "MethodSpec":
        """The method with shorter completions; unchanged where it samples none."""
        del max_completion_length
        return self

    def training_every_row(self) -> "MethodSpec":
        """The method with every row trained, for dry runs: random weights would leave most rows out."""
        return self

    @model_validator(mode="after")
    def _batch_size_divides_the_rows(self) -> "MethodSpec":
        size = self.per_device_train_batch_size
        if size and self.rows_per_step % size:
            raise ValueError(
                f"per_device_train_batch_size ({size}) does not divide the {self.rows_per_step} rows of a step"
            )
        return self
