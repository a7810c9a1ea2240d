"""What answers questions, whatever it is: a loaded model, an endpoint, or a test's own predictor."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from lowmed.sample import Sample

OpenImage = Callable[[str], Image.Image]


@dataclass(frozen=True, slots=True)
class Completion:
    """What was said to one sample; `finish_reason` is `stop`, or `length` where the token limit cut it."""

    sample: Sample
    completion: str
    tokens: int
    finish_reason: str


class Answerer(Protocol):
    """Answers samples in an order of its own choice; each comes back `copies` times."""

    def __call__(
        self, samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        """The completions, as they come; at temperature 0 greedy."""
        ...
