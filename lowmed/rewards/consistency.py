"""Whether the reasoning leads to the answer, by how likely a EMA copy of the model finds the answer after it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowmed.rewards.accuracy import Accuracy
from lowmed.rewards.score import Rollout, Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class Consistency:
    """1 for a right completion whose answer is about as likely, after its own reasoning, as in the group's right completions.

    GRPO-CARE (2506.16141) as MedBridgeRL (2603.01301) uses it: c = min(exp(mean log-probability of the answer's
    tokens under a EMA copy of the policy), `upper_bound`); a right completion with c >= mean(c of the right ones) -
    `margin` is paid. The copy is an exponential moving average, moved every `every` updates by 1 - `decay`; here it is
    of the adapter alone. Wrong completions earn 0, so it cannot be earned without `accuracy`.
    """

    upper_bound: float = 0.95
    margin: float = 0.01
    decay: float = 0.995
    every: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.upper_bound <= 1 or self.margin < 0 or not 0 <= self.decay < 1 or self.every < 1:
            raise ValueError("upper_bound is in (0, 1], margin at least 0, decay in [0, 1), every at least 1")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion without a model: a wrong one earns 0, of a right one nothing is known."""
        return self.of_group(sample, [Rollout(completion, 0)])[0]

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score the completions to one question."""
        right = [Accuracy()(sample, rollout.text).value == 1 for rollout in rollouts]
        capped = [
            min(rollout.likelihood, self.upper_bound) if one and rollout.likelihood is not None else None
            for one, rollout in zip(right, rollouts, strict=True)
        ]
        known = [value for value in capped if value is not None]
        bar = sum(known) / len(known) - self.margin if known else 0.0
        return [self._score(one, value, bar) for one, value in zip(right, capped, strict=True)]

    def _score(self, right: bool, likelihood: float | None, bar: float) -> Score:
        if not right:
            return Score(0.0, "not right")
        if likelihood is None:
            return Score(None, "the answer's likelihood is known in training alone")
        return Score(float(likelihood >= bar), f"likelihood {likelihood:.3f}, the group's bar {bar:.3f}")
