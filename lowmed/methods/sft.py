"""Supervised fine-tuning on reference completions."""

from typing import ClassVar, Literal

from pydantic import Field

from lowmed.methods.method import MethodSpec
from lowmed.schema import Positive, Rate, Share


class SftSpec(MethodSpec):
    """Supervised fine-tuning on reference completions; the loss is on the completion alone."""

    trainer: ClassVar[str] = "sft"
    with_completion: ClassVar[bool] = True

    kind: Literal["sft"] = Field(description="names the method")
    prompts_per_step: Positive = Field(16, description="questions in one optimizer step")
    learning_rate: Rate = Field(1e-4, description="peak learning rate of AdamW")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="decay of the learning rate; linear and cosine end at 0"
    )
    warmup_ratio: Share = Field(0.05, description="share of the steps over which the learning rate rises")
