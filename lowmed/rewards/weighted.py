"""A reward under its name, with its weight and its gate; and what a set of rewards pays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lowmed.errors import LowmedError, RunError
from lowmed.rewards.score import GroupReward, NeedsPreparation, Reward, Rollout, Score
from lowmed.sample import Sample

Said = TypeVar("Said")


@dataclass(frozen=True)
class Weighted:
    """A reward under its name, with its weight. A completion that does not earn a `gate` in full earns nothing at all."""

    name: str
    weight: float
    reward: Reward
    gate: bool = False

    @property
    def pays_length(self) -> bool:
        """Whether it pays long reasoning by design, whatever it says."""
        return bool(getattr(self.reward, "pays_length", False))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion.

        Raises:
            RunError: the reward failed; a failure is never a score.
        """
        return self._told(sample, completion, lambda: self.reward(sample, completion))

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score the sampled completions to one question.

        Raises:
            RunError: the reward failed.
        """
        reward: object = self.reward
        if isinstance(reward, GroupReward):
            return self._told(sample, rollouts[0].text, lambda: reward.of_group(sample, rollouts))
        return [self(sample, rollout.text) for rollout in rollouts]

    def prepare(self, asked: Sequence[tuple[Sample, str]]) -> None:
        """Let the reward look at a whole batch first, where that saves time."""
        reward: object = self.reward
        if isinstance(reward, NeedsPreparation):
            reward.prepare(asked)

    def _told(self, sample: Sample, completion: str, score: Callable[[], Said]) -> Said:
        try:
            return score()
        except LowmedError:
            raise
        except Exception as error:  # of anybody's code: told with its sample and completion, never a score
            raise RunError(
                f"the reward `{self.name}` failed: {type(error).__name__}: {error}",
                f"sample {sample.id}, completion {completion[:80]!r}",
                "correct the reward, or leave it out of method.rewards",
            ) from error


def paid(rewards: Sequence[Weighted], scores: Mapping[str, Score]) -> dict[str, float | None]:
    """The value of each reward after the gates, by name: 0 where a gate was not earned in full, None stays None."""
    closed = any((scores[each.name].value or 0.0) < 1 for each in rewards if each.gate and _spoke(scores[each.name]))
    return {each.name: 0.0 if closed and _spoke(scores[each.name]) else scores[each.name].value for each in rewards}


def total(rewards: Sequence[Weighted], scores: Mapping[str, Score]) -> float:
    """The weighted sum of what the rewards pay; one that has nothing to say pays nothing."""
    values = paid(rewards, scores)
    return sum(each.weight * (values[each.name] or 0.0) for each in rewards)


def _spoke(score: Score) -> bool:
    return score.value is not None
