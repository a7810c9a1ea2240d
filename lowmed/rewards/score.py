"""The types that rewards exchange: a score, a sampled completion, and the requirements of a reward."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from lowmed.sample import Sample

# What a reward needs beyond the text of one completion: the recipe's judge, an embedding model on the CPU, a field of
# `Rollout` that the engine measures, or the other completions of the group.
Need = Literal["judge", "embedding", "likelihood", "image_log_ratio", "group"]
MEASURED: frozenset[Need] = frozenset({"likelihood", "image_log_ratio"})  # by the model, during training


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one completion.

    Attributes:
        value: in [0, 1]; None if the reward abstains, because it does not apply to this sample or completion.
        why: the reason for the value.
        parsed: the answer that was read from the completion, if any.
    """

    value: float | None
    why: str
    parsed: str | None = None


Reward = Callable[[Sample, str], Score]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion with the measurements of the engine.

    `tokens` counts the generated tokens. `likelihood` is exp of the mean log-probability of the answer's tokens under
    the EMA copy of the adapter. `image_log_ratio` is the mean of log p(token | image) - log p(token | exchanged image)
    under the present adapter. Both are set for right completions only, and only if a reward needs them.
    """

    text: str
    tokens: int
    likelihood: float | None = None
    image_log_ratio: float | None = None


@runtime_checkable
class GroupReward(Protocol):
    """A reward that compares the completions of one question, or uses the engine's measurements of them."""

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion by its text alone."""

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score the completions of one question."""


@runtime_checkable
class NeedsPreparation(Protocol):
    """A reward that is cheaper if it processes a batch before it scores the first completion."""

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""

    def prepare(self, completions: Sequence[tuple[Sample, str]]) -> None:
        """Compute in one batch what the scores of these completions depend on."""


@runtime_checkable
class NeedsCorpus(Protocol):
    """A reward that compares a completion with the explanations of the training samples."""

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""

    def with_corpus(self, samples: Sequence[Sample]) -> Reward:
        """The reward with these training samples."""


class LikelihoodReward(Protocol):
    """A reward that needs `likelihood`, with the settings of the EMA copy of the adapter."""

    @property
    def decay(self) -> float:
        """Share of the copy that each move keeps."""

    @property
    def every(self) -> int:
        """Optimizer steps between two moves of the copy."""


class ImageReward(Protocol):
    """A reward that needs `image_log_ratio`, with the tokens that count and the exchanged images."""

    @property
    def tag(self) -> Literal["think", "answer"]:
        """The tag whose tokens count."""

    @property
    def min_tokens(self) -> int:
        """A mean over fewer tokens of a think block is taken over this many."""

    @property
    def exchanged(self) -> Mapping[str, tuple[str, ...]]:
        """Sample id -> the images that replace those of the sample; samples without a replacement are left out."""
