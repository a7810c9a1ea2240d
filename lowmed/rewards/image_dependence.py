"""How much likelier the image makes the reasoning of a right completion, compared with another group's image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, Literal

from lowmed.data.exchanged_images import exchanged_images
from lowmed.prompt import CompletionFormat
from lowmed.rewards.accuracy import RIGHT_OR_WRONG, Accuracy
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.score import Need, Rollout, Score
from lowmed.sample import Kind, Sample


@dataclass(frozen=True)
class ImageDependence:
    """How much likelier the image makes a right completion, compared with another group's image, from 0 to 1.

    x = mean over tokens of log p(token | image) - log p(token | exchanged image), under the policy that sampled the
    completion; the value is x / `upper_bound`, clipped to 0 to 1. The tokens are those of the think block; a block of
    fewer than `min_tokens` counts as one of that many, so that a single word is not a reasoning. Prompts that request
    the answer alone have its tokens instead. A wrong completion earns 0. The exchanged image is that of the control
    `shuffled`, from the training questions: another group, the same modality.

    That the reasoning depends on the image is the first term of CAPO (2506.12849, later MCR), whose formula was not
    found. This formula, which needs no judge, is lowmed's. The reward abstains on questions without an image, and if no
    other group has an image of that modality.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"image_log_ratio"})
    kinds: ClassVar[tuple[Kind, ...]] = RIGHT_OR_WRONG
    completion_format: CompletionFormat = "think_answer"
    upper_bound: float = 0.5
    min_tokens: int = 16
    corpus: Mapping[str, tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        if self.upper_bound <= 0 or self.min_tokens < 1:
            raise ValueError("upper_bound is above 0, and min_tokens at least 1")

    @property
    def tag(self) -> Literal["think", "answer"]:
        """The tag whose tokens count."""
        return "think" if self.completion_format == "think_answer" else "answer"

    @property
    def exchanged(self) -> Mapping[str, tuple[str, ...]]:
        """Sample id -> the images that replace those of the sample; empty before `with_corpus`."""
        return self.corpus or MappingProxyType({})

    def with_corpus(self, samples: Sequence[Sample]) -> "ImageDependence":
        """The reward with the exchanged images of the training samples; those that it has stay."""
        if self.corpus is not None:
            return self
        others = zip(samples, exchanged_images(samples, samples), strict=True)
        return replace(self, corpus={sample.id: images for sample, images in others if images})

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion without a measurement: a wrong one earns 0, for a right one the reward abstains."""
        return self._score(sample, Rollout(completion, 0))

    def of_group(self, sample: Sample, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score the completions of one question."""
        return [self._score(sample, rollout) for rollout in rollouts]

    def _score(self, sample: Sample, rollout: Rollout) -> Score:
        if not sample.images:
            return Score(None, "the question has no image")
        if sample.kind == "report":
            return Score(None, "a report is neither right nor wrong")
        if self.corpus is not None and sample.id not in self.corpus:
            return Score(None, "no other group has an image of the same modality")
        if Accuracy()(sample, rollout.text).value != 1:
            return Score(0.0, "not right")
        if self.tag == "think":
            text = thought(rollout.text)
            fault = "no single think block before the answer" if text is None else thought_fault(text)
            if fault:
                return Score(0.0, fault)
        ratio = rollout.image_log_ratio
        if ratio is None:
            return Score(None, "the dependence on the image is measured in training only")
        value = min(max(ratio / self.upper_bound, 0.0), 1.0)
        return Score(value, f"{ratio:+.3f} nats a token with the image")
