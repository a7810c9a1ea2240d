"""How GRPO also trains on the reference completions of its questions: three ways to mix RL with SFT."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lowmed.section import Positive, Section, Share


class SumMix(Section):
    """The loss of GRPO plus a constant times the loss of SFT."""

    off_policy: ClassVar[bool] = False

    kind: Literal["sum"] = Field(description="selects the way")
    weight: Annotated[float, Field(gt=0)] = Field(0.1, description="factor of the SFT loss")

    def weights(self, step: int) -> tuple[float, float]:
        """The factors of the two losses, GRPO's and SFT's, after a number of optimizer steps."""
        del step
        return 1.0, self.weight


class ChordMix(Section):
    """CHORD (arXiv:2508.11408): (1 - mu) times the loss of GRPO plus mu times the loss of SFT.

    mu rises linearly from 0 to `peak` in `warmup_steps`, then falls along a cosine to `valley` in `decay_steps`.
    """

    off_policy: ClassVar[bool] = False

    kind: Literal["chord"] = Field(description="selects the way")
    peak: Share = Field(0.9, description="highest share of the SFT loss")
    valley: Share = Field(0.05, description="share of the SFT loss at the end")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="optimizer steps until the peak")
    decay_steps: Positive = Field(100, description="optimizer steps from the peak to the valley")
    token_weights: bool = Field(
        False, description="weight each token by p * (1 - p), where p is its probability under the policy"
    )

    @model_validator(mode="after")
    def _falls(self) -> "ChordMix":
        if self.valley > self.peak:
            raise ValueError(f"valley ({self.valley}) is above peak ({self.peak})")
        return self

    def weights(self, step: int) -> tuple[float, float]:
        """The factors of the two losses, GRPO's and SFT's, after a number of optimizer steps."""
        if step < self.warmup_steps:
            mu = self.peak * step / self.warmup_steps
        else:
            passed = min(1.0, (step - self.warmup_steps) / self.decay_steps)
            mu = self.valley + (self.peak - self.valley) * (1 + math.cos(math.pi * passed)) / 2
        return 1 - mu, mu


class LuffyMix(Section):
    """LUFFY (arXiv:2504.14945): the reference completion joins the group of its question off-policy.

    Its advantage is its reward minus the mean of the sampled completions, divided by their standard deviation (by 1 if
    that is 0). Each of its tokens counts f(p) = p / (p + `gamma`), where p is its probability under the policy. Nothing
    is clipped.
    """

    off_policy: ClassVar[bool] = True

    kind: Literal["luffy"] = Field(description="selects the way")
    gamma: Annotated[float, Field(gt=0)] = Field(
        0.1, description="the smaller, the more the tokens count that the policy would hardly sample"
    )


MIXES: dict[str, type[Section]] = {"sum": SumMix, "chord": ChordMix, "luffy": LuffyMix}
Mix = Annotated[SumMix | ChordMix | LuffyMix, Field(discriminator="kind")]
