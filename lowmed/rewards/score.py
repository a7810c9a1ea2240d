"""What a reward says about one completion."""

from collections.abc import Callable
from dataclasses import dataclass

from lowmed.sample import Sample


@dataclass(frozen=True, slots=True)
class Score:
    """A value in [0, 1], or None where the reward has nothing to say; why; and the answer that it read."""

    value: float | None
    why: str
    parsed: str | None = None


Reward = Callable[[Sample, str], Score]
