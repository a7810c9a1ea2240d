"""Rewards of length: two that pay for length, as published, and one that penalizes excess length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import regex

from lowmed.prompt import CompletionFormat
from lowmed.rewards.accuracy import RIGHT_OR_WRONG, Accuracy
from lowmed.rewards.format import thought, words
from lowmed.rewards.score import Rollout, Score
from lowmed.sample import Kind, Sample

_PIECE = regex.compile(r"\p{Han}|[^\W_\p{Han}]+|[^\w\s]|_")


@dataclass(frozen=True)
class Chain:
    """Words of the think block / `target_words`, at most 1: pays rambling by design.

    After the Extended Chain Reward (ECR) of Zhu et al. 2505.13973, whose formula and target were not found. It lowered
    accuracy in their paper and is included for comparison.
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
            return Score(None, "the prompt requests no reasoning")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        count = len(words(text))
        return Score(min(1.0, count / self.target_words), f"{count} of {self.target_words} words")


@dataclass(frozen=True)
class ChainIfCorrect:
    """The value of `chain` for right answers, else 0.

    After the Correctness-Weighted length Reward (CWR) of Zhu et al. 2505.13973, whose formula was not found.
    """

    pays_length: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = RIGHT_OR_WRONG
    target_words: int = 128
    completion_format: CompletionFormat = "think_answer"

    def __post_init__(self) -> None:
        Chain(self.target_words)

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        length = Chain(self.target_words, self.completion_format)(sample, completion)
        accuracy = Accuracy()(sample, completion)
        if accuracy.value == 1 or length.value is None:
            return length
        if accuracy.value is None:
            return accuracy
        return Score(0.0, f"not right: {accuracy.why}", accuracy.parsed)


@dataclass(frozen=True)
class Overlong:
    """1 for a completion well below the length limit, falling to 0 for a truncated one.

    It falls over the last `cache` tokens of `max_new_tokens`. DAPO's soft overlong punishment (2503.14476, equation
    13), shifted from [-1, 0] to [0, 1]: (max_new_tokens - L) / cache for a length L, clipped. If the token count is
    unknown, L counts words and punctuation marks.
    """

    pays_form: ClassVar[bool] = True
    cache: int = 64
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.cache <= self.max_new_tokens:
            raise ValueError(f"cache is from 1 to max_new_tokens, here {self.max_new_tokens}")

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion by its words and punctuation marks."""
        return self._of_length(len(_PIECE.findall(completion)), "words and marks")

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score completions by their tokens."""
        return [self._of_length(rollout.tokens, "tokens") for rollout in rollouts]

    def _of_length(self, length: int, unit: str) -> Score:
        left = (self.max_new_tokens - length) / self.cache
        return Score(max(0.0, min(1.0, left)), f"{length} of {self.max_new_tokens} {unit}")
