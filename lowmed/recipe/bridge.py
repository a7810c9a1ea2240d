"""The rule of `lowmed bridge`: when RL can help, and when SFT comes first."""

from typing import Annotated

from pydantic import Field

from lowmed.methods import SftSpec
from lowmed.schema import Positive, Section, Share


class BridgeSpec(Section):
    """Settings of `lowmed bridge`: RL if the probe shows support, otherwise a round of SFT and another probe."""

    support: Share = Field(
        0.25, description="RL follows where a larger share of questions is answered above chance and blind guessing"
    )
    samples: Annotated[int, Field(ge=2, le=64)] = Field(16, description="K: completions sampled per question")
    questions: Positive = Field(200, description="number of training questions in a probe")
    rounds: Positive = Field(3, description="maximum number of SFT rounds")
    sft: SftSpec = Field(description="settings of one round of SFT")
