"""What every training method has: its settings in a recipe, and what the planner and the engine ask of it.

A new method is a module in this package with a subclass of `MethodSpec`, named in `__init__`, and a trainer module in
the engine. Nothing else tests which method a recipe uses.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from lowmed.schema import Positive, Rate, Section, Share


class RewardSpec(Section):
    """One reward of a recipe: its name, its weight, and any options that the reward itself takes."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="one of `lowmed rewards list`")
    weight: Annotated[float, Field(ge=0)] = Field(1.0, description="factor of its value in the sum of rewards")
    gate: bool = Field(False, description="a completion that scores below 1 here gets no reward at all")

    @property
    def options(self) -> dict[str, Any]:
        """The options of the reward itself."""
        return dict(self.__pydantic_extra__ or {})


class MethodSpec(Section):
    """Settings that all methods share.

    Class attributes, which a subclass may override:
        trainer: module of `lowmed.engine` whose `build(job)` returns the trainer.
        with_completion: whether the training data have a `completion` column with the reference.
    """

    trainer: ClassVar[str]
    with_completion: ClassVar[bool] = False

    kind: str
    max_steps: Positive = Field(120, description="optimizer steps")
    prompts_per_step: Positive = Field(8, description="questions in one optimizer step")
    learning_rate: Rate = Field(2e-5, description="peak learning rate of AdamW")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="decay of the learning rate; linear and cosine end at 0"
    )
    warmup_ratio: Share = Field(0.0, description="share of the steps over which the learning rate rises")
    max_grad_norm: Annotated[float, Field(gt=0)] = Field(0.5, description="gradients are clipped to this norm")
    save_steps: Positive = Field(20, description="steps between checkpoints; a killed run loses at most these")
    per_device_train_batch_size: Positive | None = Field(
        None, description="rows in one forward pass; empty = derived from the GPU"
    )
    gradient_checkpointing: bool | None = Field(
        None, description="recompute activations in the backward pass; empty = derived from the GPU"
    )

    @property
    def rows_per_step(self) -> int:
        """Rows in one optimizer step: questions, or completions where the method samples them."""
        return self.prompts_per_step * max(1, self.completions_per_prompt)

    @property
    def completions_per_prompt(self) -> int:
        """Completions that the policy samples per prompt; 0 where it trains on references."""
        return 0

    @property
    def max_sampled_tokens(self) -> int:
        """Most tokens of a sampled completion; 0 where none are sampled."""
        return 0

    @property
    def sampling_temperature(self) -> float:
        """Temperature of the sampled completions."""
        return 1.0

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps on the same rows. A checkpoint must not fall between them, since it does not hold the rows."""
        return 1

    @property
    def scoring_passes(self) -> int:
        """Forward passes without a gradient over the rows of each batch, after sampling and before training."""
        return 0

    @property
    def keeps_reference(self) -> bool:
        """Whether a frozen copy of the adapter is kept, e.g. for a KL term."""
        return False

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The rewards it trains with; empty where it uses none."""
        return ()

    def limited_to(self, max_completion_length: int) -> "MethodSpec":
        """The same method with shorter completions; unchanged where it samples none."""
        del max_completion_length
        return self

    def training_every_row(self) -> "MethodSpec":
        """The same method without anything that would leave rows out, for a dry run with random weights."""
        return self

    @model_validator(mode="after")
    def _batch_size_divides_the_rows(self) -> "MethodSpec":
        size = self.per_device_train_batch_size
        if size and self.rows_per_step % size:
            rows = f"the {self.rows_per_step} rows of a step"
            raise ValueError(f"per_device_train_batch_size ({size}) does not divide {rows}")
        return self
