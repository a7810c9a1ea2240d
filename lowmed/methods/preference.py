"""The settings that DPO and KTO share: both train on completions from a file, relative to a reference."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lowmed.methods.method import MethodSpec
from lowmed.section import Rate, Share, counterpart


class PreferenceSpec(MethodSpec):
    """A method that trains on completions from a file. The reference is the base, or the adapter in `lora.start`."""

    learning_rate: Rate = Field(
        1e-5,
        description="peak learning rate of AdamW",
        json_schema_extra=counterpart("TrainingArguments: learning_rate"),
    )
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "cosine",
        description="learning rate schedule; linear and cosine decay to 0",
        json_schema_extra=counterpart("TrainingArguments: lr_scheduler_type"),
    )
    warmup_ratio: Share = Field(
        0.1,
        description="share of the steps over which the learning rate rises from 0",
        json_schema_extra=counterpart("TrainingArguments: warmup_steps / max_steps"),
    )

    beta: Annotated[float, Field(gt=0)] = Field(0.1, description="factor of the log-probabilities")

    data_key: ClassVar[Literal["pairs", "unpaired"]]

    @property
    def preferences(self) -> Literal["pairs", "unpaired"]:
        """The key of `data` that names the completions."""
        return self.data_key

    @property
    def base_is_reference(self) -> bool:
        """The base is the reference of a new adapter."""
        return True
