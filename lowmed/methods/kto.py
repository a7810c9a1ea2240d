"""Kahneman-Tversky optimization (KTO) on completions that are labeled good or bad, one by one."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lowmed.methods.preference import PreferenceSpec
from lowmed.section import counterpart

MAX_RATIO = 3 / 2  # of the paper
SAFE_RATIO = 4 / 3  # the largest that TRL recommends too
ROUNDING = 0.005  # of the weights that the warning recommends
Weight = Annotated[float, Field(gt=0)]


class KtoSpec(PreferenceSpec):
    """KTO (arXiv:2402.01306): make good completions more likely and bad ones less likely, relative to a reference.

    The reference is the base, or with `lora.start` that adapter. A completion counts by how far it is above or below
    z0, an estimate of the KL divergence between model and reference over all rows of the step.
    """

    trainer: ClassVar[str] = "kto"
    data_key: ClassVar[Literal["pairs", "unpaired"]] = "unpaired"

    kind: Literal["kto"] = Field(description="selects the method")
    epochs: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="passes over the labeled completions, in place of `max_steps`, which is derived when the data are "
        "known; with several data sets as many draws as completions",
        json_schema_extra=counterpart("TrainingArguments: num_train_epochs"),
    )
    prompts_per_step: Annotated[int, Field(ge=2)] = Field(
        32,
        description="labeled completions in one optimizer step; z0 is estimated over all of them",
        json_schema_extra=counterpart("KTOConfig: per_device_train_batch_size * gradient_accumulation_steps"),
    )
    beta: Annotated[float, Field(gt=0)] = Field(
        0.1,
        description="factor of the log-probabilities; a larger one keeps the model nearer to the reference",
        json_schema_extra=counterpart("KTOConfig: beta"),
    )
    desirable_weight: Weight = Field(
        1.0, description="weight of good completions", json_schema_extra=counterpart("KTOConfig: desirable_weight")
    )
    undesirable_weight: Weight = Field(
        1.0, description="weight of bad completions", json_schema_extra=counterpart("KTOConfig: undesirable_weight")
    )

    @property
    def scored_completions_per_row(self) -> int:
        """The reference reads the completion of the row and that of another question, for z0."""
        return 2

    @property
    def scoring_passes(self) -> int:
        """One for the reference, and one of the policy for z0."""
        return 2

    @property
    def keeps_reference(self) -> bool:
        """The loss needs the reference."""
        return True

    def balance_warning(self, good: int, bad: int) -> str | None:
        """A warning if the weights leave the range that the paper recommends, with the weights that would not.

        desirable_weight * good / (undesirable_weight * bad) should be from 1 to 3/2 by the paper (arXiv:2402.01306,
        eq. 9), and from 1 to 4/3 by its first version and TRL's page on KTO. Values for the latter are recommended.

        Args:
            good: number of good completions.
            bad: number of bad ones.
        """
        ratio = self.desirable_weight * good / (self.undesirable_weight * bad)
        if 1 - ROUNDING <= ratio <= MAX_RATIO * (1 + ROUNDING):
            return None
        if ratio < 1:
            weight = self.desirable_weight / ratio
            key, low, high = "desirable_weight", weight, weight * SAFE_RATIO
        else:
            weight = self.undesirable_weight * ratio
            key, low, high = "undesirable_weight", weight / SAFE_RATIO, weight
        return (
            f"WARNING: desirable_weight * good / (undesirable_weight * bad) is {ratio:.2f}; KTO's authors recommend 1 "
            f"to 1.5: set method.{key} to a value from {low:.3g} to {high:.3g}"
        )
