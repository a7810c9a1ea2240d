"""Repetition within a completion, by n-grams of words."""

from dataclasses import dataclass
from typing import ClassVar

from lowmed.rewards.format import words
from lowmed.rewards.score import Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class Repetition:
    """Distinct n-grams of `n` words / all n-grams / (1 - `allowed`), at most 1; 0 without words.

    The n-gram repetition penalty of Yeo et al. 2502.03373, shifted from [-1, 0] to [0, 1]. `allowed` is the share of
    repeated n-grams that costs nothing, because honest explanations repeat words too.
    """

    pays_form: ClassVar[bool] = True
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
        ngrams = [[part[start : start + self.n] for start in range(len(part) - self.n + 1)] for part in parts]
        count, distinct = sum(map(len, ngrams)), sum(len(set(part)) for part in ngrams)
        value = min(1.0, distinct / count / (1 - self.allowed)) if count else 1.0
        return Score(value, f"{distinct} distinct of {count} sequences of {self.n} words")
