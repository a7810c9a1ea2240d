"""Rewards of length: two that pay for it, as published, and one that takes away what is too long."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import regex

from lowmed.prompt import CompletionFormat
from lowmed.rewards.accuracy import Accuracy
from lowmed.rewards.format import thought, words
from lowmed.rewards.score import Rollout, Score
from lowmed.sample import Sample

_PIECE = regex.compile(r"\p{Han}|[^\W_\p{Han}]+|[^\w\s]|_")


@dataclass(frozen=True)
class Chain:
    """Length of the think block in words over `target_words`, at most 1, whatever it says: pays rambling by design.

    After the Extended Chain Reward (ECR) of Zhu et al. 2505.13973, whose formula and target were not found. With it
    their accuracy fell; it is here to show that.
    """

    pays_length: ClassVar[bool] = True
    target_words: int = 128
    completion_format: CompletionFormat = "think_answer"

    def __post_init__(self) -> None:
        if self.target_words < 1:
            raise ValueError("target_words is at least 1")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if self.completion_format == "answer":
            return Score(None, "the prompt asks for no reasoning")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        count = len(words(text))
        return Score(min(1.0, count / self.target_words), f"{count} of {self.target_words} words")


@dataclass(frozen=True)
class ChainIfCorrect:
    """What `chain` pays, to right answers alone.

    After the Correctness-Weighted length Reward (CWR) of Zhu et al. 2505.13973, whose formula was not found.
    """

    pays_length: ClassVar[bool] = True
    target_words: int = 128
    completion_format: CompletionFormat = "think_answer"

    def __post_init__(self) -> None:
        Chain(self.target_words)

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        right = Accuracy()(sample, completion)
        long = Chain(self.target_words, self.completion_format)(sample, completion)
        return long if right.value == 1 or long.value is None else Score(0.0, f"not right: {right.why}", right.parsed)


@dataclass(frozen=True)
class Overlong:
    """1 for a completion that leaves `cache` tokens of `max_new_tokens` unused, falling to 0 for one that is cut.

    DAPO's soft overlong punishment (2503.14476, equation 13), moved from [-1, 0] to [0, 1]: for a length L it is
    (max_new_tokens - L) / cache, clipped. Without the count of tokens, words and marks are counted in their place.
    """

    cache: int = 64
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.cache <= self.max_new_tokens:
            raise ValueError(f"cache is from 1 to max_new_tokens, here {self.max_new_tokens}")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion by its words and marks."""
        return self._of_length(len(_PIECE.findall(completion)), "words and marks")

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score completions by their tokens."""
        return [self._of_length(rollout.tokens, "tokens") for rollout in rollouts]

    def _of_length(self, length: int, unit: str) -> Score:
        left = (self.max_new_tokens - length) / self.cache
        return Score(max(0.0, min(1.0, left)), f"{length} of {self.max_new_tokens} {unit}")
