"""When RL is worth its cost: where the model has support for it."""

from typing import Annotated

from pydantic import Field

from lowmed.methods import SftSpec
from lowmed.schema import Positive, Section, Share


class BridgeSpec(Section):
    """The rule of `lowmed bridge`: RL where the model has support, else a round of SFT and another probe."""

    support: Share = Field(
        0.25, description="share of questions answered right beyond chance and blind guessing above which RL follows"
    )
    samples: Annotated[int, Field(ge=2, le=64)] = Field(16, description="K: completions sampled per question")
    questions: Positive = Field(200, description="training questions that are probed")
    rounds: Positive = Field(3, description="rounds of SFT before giving up")
    sft: SftSpec = Field(description="settings of one round of SFT")
