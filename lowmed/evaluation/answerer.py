"""Interface of everything that generates completions: a loaded model, an endpoint, a test's predictor."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from lowmed.sample import Sample

OpenImage = Callable[[str], Image.Image]


@dataclass(frozen=True, slots=True)
class Completion:
    """The completion of one sample; `finish_reason` is `stop`, `length` if the token limit cut it, or `rejected`.

    `prompt_tokens` is 0 unless a server counted them.
    """

    sample: Sample
    completion: str
    tokens: int
    finish_reason: str
    prompt_tokens: int = 0


class Answerer(Protocol):
    """Generates `copies` completions of each sample, in an order of its choice."""

    def __call__(
        self, samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        """Yield completions as they are generated; temperature 0 is greedy.

        An answerer with a loaded model also takes `contrast`, which opens the images to decode against.
        """
        ...
