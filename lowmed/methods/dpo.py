"""Direct preference optimization (DPO) on pairs of completions, with the terms of mDPO, and SimPO."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lowmed.methods.preference import PreferenceSpec
from lowmed.section import Positive, counterpart

ImageControl = Literal["blind", "grey", "shuffled"]
Weight = Annotated[float, Field(ge=0)]


class DpoSpec(PreferenceSpec):
    """DPO: make the chosen completion of each pair more likely than the rejected one, relative to a reference.

    The reference is the base, or with `lora.start` that adapter. `image_weight` and `anchor_weight` add the terms of
    mDPO (arXiv:2406.11839). `loss_type: simpo` (arXiv:2405.14734) compares mean log-probabilities without a reference.
    """

    trainer: ClassVar[str] = "dpo"
    data_key: ClassVar[Literal["pairs", "unpaired"]] = "pairs"

    kind: Literal["dpo"] = Field(description="selects the method")
    prompts_per_step: Positive = Field(
        16,
        description="pairs in one optimizer step, each of another question",
        json_schema_extra=counterpart("DPOConfig: per_device_train_batch_size * gradient_accumulation_steps"),
    )
    loss_type: Literal["sigmoid", "simpo"] = Field(
        "sigmoid",
        description="`sigmoid`: DPO, the pair against the reference; `simpo`: mean log-probabilities per token, "
        "without a reference",
        json_schema_extra=counterpart("DPOConfig: loss_type", "CPOConfig: loss_type"),
    )
    beta: Annotated[float, Field(gt=0)] = Field(
        0.1,
        description="factor of the log-probabilities; a larger one keeps the model nearer to the reference. For "
        "`simpo` 2 to 2.5 are usual",
        json_schema_extra=counterpart("DPOConfig: beta", "CPOConfig: beta"),
    )
    simpo_gamma: Weight = Field(
        0.5,
        description="margin of `simpo` by which the chosen completion must lead; `sigmoid` has none",
        json_schema_extra=counterpart("CPOConfig: simpo_gamma"),
    )
    image_weight: Weight = Field(
        0.0,
        description="weight of mDPO's term for the image: the chosen completion must be likelier with its image than "
        "with the one of `image_control`; above 0 a third completion is read",
    )
    image_control: ImageControl = Field(
        "grey", description="the altered image of that term, a control of `lowmed eval`: `blind`, `grey`, `shuffled`"
    )
    anchor_weight: Weight = Field(
        0.0,
        description="weight of mDPO's anchor: the chosen completion must not become less likely than the reference "
        "makes it",
    )

    @property
    def completions_per_row(self) -> int:
        """The chosen and the rejected completion, and the chosen one again with the altered image."""
        return 2 + (self.image_weight > 0)

    @property
    def prompts_per_row(self) -> int:
        """The prompt, and with an image term the one with the altered image."""
        return 1 + (self.image_weight > 0)

    @property
    def scoring_passes(self) -> int:
        """One for the reference."""
        return int(self.keeps_reference)

    @property
    def keeps_reference(self) -> bool:
        """Whether the loss needs the reference."""
        return self.loss_type == "sigmoid"

    @property
    def altered_image(self) -> ImageControl | None:
        """The altered image of the term for the image; None without that term."""
        return self.image_control if self.image_weight else None

    @model_validator(mode="after")
    def _terms_fit_the_loss(self) -> "DpoSpec":
        if self.loss_type == "simpo" and (self.image_weight or self.anchor_weight):
            raise ValueError("image_weight and anchor_weight compare with a reference, and loss_type=simpo has none")
        if self.loss_type == "sigmoid" and "simpo_gamma" in self.model_fields_set and self.simpo_gamma != 0.5:
            raise ValueError("simpo_gamma is the margin of loss_type=simpo; remove it, or set loss_type=simpo")
        return self
