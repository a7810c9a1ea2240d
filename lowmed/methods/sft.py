"""Supervised fine-tuning on reference completions."""

from typing import ClassVar, Literal

from pydantic import Field

from lowmed.methods.method import MethodSpec
from lowmed.section import Positive, Rate, Share, counterpart


class SftSpec(MethodSpec):
    """Supervised fine-tuning on reference completions. Only the tokens of the completion enter the loss."""

    trainer: ClassVar[str] = "sft"
    with_completion: ClassVar[bool] = True

    kind: Literal["sft"] = Field(description="selects the method")
    prompts_per_step: Positive = Field(
        16,
        description="questions in one optimizer step",
        json_schema_extra=counterpart("SFTConfig: per_device_train_batch_size * gradient_accumulation_steps"),
    )
    learning_rate: Rate = Field(
        1e-4,
        description="peak learning rate of AdamW",
        json_schema_extra=counterpart("TrainingArguments: learning_rate"),
    )
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "cosine",
        description="learning rate schedule; linear and cosine decay to 0",
        json_schema_extra=counterpart("TrainingArguments: lr_scheduler_type"),
    )
    warmup_ratio: Share = Field(
        0.05,
        description="share of the steps over which the learning rate rises from 0",
        json_schema_extra=counterpart("TrainingArguments: warmup_steps / max_steps"),
    )
