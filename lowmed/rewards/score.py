"""What a reward says about one completion, and what it may know of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lowmed.sample import Sample


@dataclass(frozen=True, slots=True)
class Score:
    """A value in [0, 1], or None where the reward has nothing to say; why; and the answer that it read."""

    value: float | None
    why: str
    parsed: str | None = None


Reward = Callable[[Sample, str], Score]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion, with what the engine alone knows of it.

    `tokens` counts its generated tokens; `likelihood` is exp of the mean log-probability of its answer's tokens under
    the EMA copy of the adapter, known only for right completions and only where a reward asks for it.
    """

    text: str
    tokens: int
    likelihood: float | None = None


@runtime_checkable
class GroupReward(Protocol):
    """A reward that needs the completions of one question together, or what the engine knows of them."""

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion by its text alone."""

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score the completions to one question."""


@runtime_checkable
class NeedsPreparation(Protocol):
    """A reward that is cheaper when it sees a whole batch before it scores its first completion."""

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""

    def prepare(self, asked: Sequence[tuple[Sample, str]]) -> None:
        """Do at once what the scores of these completions will need."""
