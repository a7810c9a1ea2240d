"""A named reward with its weight and gate, and the total of several rewards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lowmed.errors import LowmedError, RunError
from lowmed.rewards.score import GroupReward, Need, NeedsCorpus, NeedsPreparation, Reward, Rollout, Score
from lowmed.sample import Sample

Result = TypeVar("Result")


@dataclass(frozen=True)
class Weighted:
    """A named reward with its weight.

    If it is a `gate`, a completion with a value below 1 earns nothing from any reward. `needs` are those of the reward.
    """

    name: str
    weight: float
    reward: Reward
    gate: bool = False
    needs: frozenset[Need] = frozenset()

    @property
    def pays_length(self) -> bool:
        """Whether the published idea of the reward is to pay long reasoning, whatever its content."""
        return bool(getattr(self.reward, "pays_length", False))

    @property
    def pays_form(self) -> bool:
        """Whether the idea of the reward is to pay the form of the text, whatever the image shows."""
        return bool(getattr(self.reward, "pays_form", False))

    def most(self, sample: Sample) -> float:
        """What the right answer earns: the reward's own `most(sample)`, else 1."""
        own: Callable[[Sample], float] | None = getattr(self.reward, "most", None)
        return own(sample) if own else 1.0

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion.

        Raises:
            RunError: the reward raised an exception, which never becomes a score.
        """
        return self._call(sample, completion, lambda: self.reward(sample, completion))

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score the sampled completions of one question.

        Raises:
            RunError: the reward raised an exception.
        """
        reward: object = self.reward
        if isinstance(reward, GroupReward):
            return self._call(sample, rollouts[0].text, lambda: reward.of_group(sample, rollouts))
        return [self(sample, rollout.text) for rollout in rollouts]

    def prepare(self, completions: Sequence[tuple[Sample, str]]) -> None:
        """Let the reward process a batch before scoring, if it supports that."""
        reward: object = self.reward
        if isinstance(reward, NeedsPreparation):
            reward.prepare(completions)

    def _call(self, sample: Sample, completion: str, score: Callable[[], Result]) -> Result:
        try:
            return score()
        except LowmedError:
            raise
        except Exception as error:  # a custom reward may raise anything
            raise RunError(
                f"the reward `{self.name}` failed: {type(error).__name__}: {error}",
                f"sample {sample.id}, completion {completion[:80]!r}",
                "correct the reward, or leave it out of method.rewards",
            ) from error


def with_corpus(rewards: Sequence[Weighted], samples: Sequence[Sample]) -> list[Weighted]:
    """The rewards with these training samples, for those that compare with the training explanations.

    A reward that has training samples already keeps them.
    """

    def prepared(reward: object) -> Reward | None:
        return reward.with_corpus(samples) if isinstance(reward, NeedsCorpus) else None

    return [replace(weighted, reward=prepared(weighted.reward) or weighted.reward) for weighted in rewards]


def values_after_gates(rewards: Sequence[Weighted], scores: Mapping[str, Score]) -> dict[str, float | None]:
    """The value of each reward by name: 0 if any gate is below 1, None if the reward abstained."""
    values = {reward.name: scores[reward.name].value for reward in rewards}
    gates = [values[reward.name] for reward in rewards if reward.gate]
    if any(value is not None and value < 1 for value in gates):
        return {name: None if value is None else 0.0 for name, value in values.items()}
    return values


def total(rewards: Sequence[Weighted], scores: Mapping[str, Score]) -> float:
    """The weighted sum of the values after the gates; a reward that abstained adds nothing."""
    values = values_after_gates(rewards, scores)
    return sum(reward.weight * (values[reward.name] or 0.0) for reward in rewards)
