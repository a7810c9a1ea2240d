"""Likelihood of the answer after its own reasoning, under an EMA copy of the adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lowmed.rewards.accuracy import RIGHT_OR_WRONG, Accuracy
from lowmed.rewards.score import Need, Rollout, Score
from lowmed.sample import Kind, Sample


@dataclass(frozen=True)
class Consistency:
    """1 for a right completion whose answer is likely after its own reasoning, else 0.

    GRPO-CARE (2506.16141) as MedBridgeRL (2603.01301) uses it. c = min(exp(mean log-probability of the answer's
    tokens), `upper_bound`), under an EMA copy of the policy and given the completion's own reasoning. A right one earns
    1 if c >= mean(c of the right completions) - `margin`. The copy moves every `every` optimizer steps by 1 - `decay`;
    here it is a copy of the adapter alone. Wrong completions earn 0, so nothing is earned without a right answer.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"likelihood"})
    kinds: ClassVar[tuple[Kind, ...]] = RIGHT_OR_WRONG
    upper_bound: float = 0.95
    margin: float = 0.01
    decay: float = 0.995
    every: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.upper_bound <= 1 or self.margin < 0 or not 0 <= self.decay < 1 or self.every < 1:
            raise ValueError("upper_bound is in (0, 1], margin at least 0, decay in [0, 1), every at least 1")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion without a likelihood: a wrong one earns 0, for a right one the reward abstains."""
        return self.of_group(sample, [Rollout(completion, 0)])[0]

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score the completions of one question."""
        if sample.kind == "report":
            return [Score(None, "a report is neither right nor wrong")] * len(rollouts)
        is_right = [Accuracy()(sample, rollout.text).value == 1 for rollout in rollouts]
        likelihoods = [
            min(rollout.likelihood, self.upper_bound) if right and rollout.likelihood is not None else None
            for right, rollout in zip(is_right, rollouts, strict=True)
        ]
        known = [likelihood for likelihood in likelihoods if likelihood is not None]
        threshold = sum(known) / len(known) - self.margin if known else 0.0
        return [
            self._score(right, likelihood, threshold) for right, likelihood in zip(is_right, likelihoods, strict=True)
        ]

    def _score(self, right: bool, likelihood: float | None, threshold: float) -> Score:
        if not right:
            return Score(0.0, "not right")
        if likelihood is None:
            return Score(None, "the likelihood of the answer is measured in training only")
        return Score(float(likelihood >= threshold), f"likelihood {likelihood:.3f}, threshold {threshold:.3f}")
