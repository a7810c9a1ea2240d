"""Whether a completion goes round in circles."""

from dataclasses import dataclass

from lowmed.rewards.format import words
from lowmed.rewards.score import Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class Repetition:
    """Share of different sequences among all sequences of `n` words, over 1 - `allowed`, at most 1; 0 without words.

    The n-gram repetition penalty of Yeo et al. 2502.03373, moved from [-1, 0] to [0, 1]. `allowed` is the share of
    repeats that costs nothing, because honest explanations repeat themselves too.
    """

    n: int = 4
    allowed: float = 0.2

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.allowed < 1:
            raise ValueError("n is at least 1, allowed from 0 to below 1")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        parts = [words(part) for part in completion.partition("</think>")[::2]]  # an answer may repeat the reasoning
        if not any(parts):
            return Score(0.0, "no words")
        grams = [[tuple(said[at : at + self.n]) for at in range(len(said) - self.n + 1)] for said in parts]
        count, different = sum(map(len, grams)), sum(len(set(part)) for part in grams)
        value = min(1.0, different / count / (1 - self.allowed)) if count else 1.0
        return Score(value, f"{different} different of {count} sequences of {self.n} words")
