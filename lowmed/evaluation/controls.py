"""Controls: the same questions with altered inputs, to test whether a model uses the image.

| control | what changes | accuracy of a model that uses the image |
| --- | --- | --- |
| blind | no image | drops to that of the question alone |
| grey | every pixel gray, same size | drops |
| shuffled | the image of another group, of the same modality if known | drops |
| options | the options of a choice in another order, the correct one under another letter | unchanged |
| flipped | image mirrored, left and right exchanged in the texts, boxes mirrored | unchanged |

A question is flipped only if its question, options or answer change. A question that names no side is skipped, and so
is one that names both sides while its answer names none. All images are altered in memory. A history is kept, also if
it describes the original image.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageOps

from lowmed.answer.lexicon import ALL, one_of
from lowmed.boxes import boxes_text, parse_boxes
from lowmed.data.exchanged_images import exchanged_images
from lowmed.evaluation.answerer import OpenImage
from lowmed.sample import Sample, without_images

REAL, SAMPLED, SAMPLED_BLIND = "real", "sampled", "sampled-blind"
CONTROLS = ("blind", "grey", "shuffled", "options", "flipped")
CONTRASTIVE = "contrastive"  # the same input, decoded against a gray image; run only on request, at twice the cost
_SIDE = re.compile(rf"\b({one_of((*ALL.left, *ALL.right))})\b", re.IGNORECASE)
_OTHER = dict((*zip(ALL.left, ALL.right, strict=True), *zip(ALL.right, ALL.left, strict=True)))


@dataclass(frozen=True)
class Condition:
    """Samples of one split with one kind of input. Their ids stay, so that completions pair with the real ones.

    With `contrast`, decoding is contrastive, against the images that it opens.
    """

    name: str
    split: str
    samples: tuple[Sample, ...]
    open_image: OpenImage
    copies: int = 1
    temperature: float = 0.0
    contrast: OpenImage | None = None


def choose_questions(held_out: Mapping[str, Sequence[Sample]], questions: int) -> dict[str, tuple[Sample, ...]]:
    """Choose about `questions` questions, proportionally from each split, by a hash of their ids."""
    total = sum(len(samples) for samples in held_out.values())
    share = min(1.0, questions / total) if total else 0.0
    result = {}
    for split, samples in held_out.items():
        ranked = sorted(samples, key=lambda sample: _rank(sample.id))[: round(share * len(samples))]
        kept = {sample.id for sample in ranked}
        result[split] = tuple(sample for sample in samples if sample.id in kept)
    return result


def conditions(split: str, samples: Sequence[Sample], pool: Sequence[Sample], open_image: OpenImage) -> list[Condition]:
    """All controls of one split.

    Args:
        split: its name.
        samples: the questions to repeat.
        pool: the samples whose images may replace others; includes `samples`.
        open_image: opens image references.
    """
    with_image = tuple(sample for sample in samples if sample.images)
    altered: dict[str, tuple[Iterable[Sample | None], OpenImage]] = {
        "blind": (map(without_images, with_image), open_image),
        "grey": (with_image, lambda reference: grey(open_image(reference))),
        "shuffled": (shuffled(with_image, pool), open_image),
        "options": (map(reordered, samples), open_image),
        "flipped": (map(flipped, with_image), lambda reference: ImageOps.mirror(open_image(reference))),
    }
    return [
        Condition(name, split, tuple(sample for sample in altered_samples if sample), open_altered)
        for name, (altered_samples, open_altered) in altered.items()
    ]


def contrastive(split: str, samples: Sequence[Sample], open_image: OpenImage) -> Condition:
    """The questions that have an image, decoded against a gray image of the same size."""
    with_image = tuple(sample for sample in samples if sample.images)
    return Condition(CONTRASTIVE, split, with_image, open_image, contrast=lambda reference: grey(open_image(reference)))


def grey(image: Image.Image) -> Image.Image:
    """A gray image of the same size."""
    return Image.new("RGB", image.size, (128, 128, 128))


def shuffled(samples: Sequence[Sample], pool: Sequence[Sample]) -> list[Sample]:
    """Each sample with the images of another group, by the rule of `exchanged_images`; without one it is left out."""
    others = exchanged_images(samples, pool)
    return [replace(sample, images=images) for sample, images in zip(samples, others, strict=True) if images]


def reordered(sample: Sample) -> Sample | None:
    """A choice with its options rotated so that the correct one has another letter; None for other kinds."""
    if sample.kind != "choice":
        return None
    shift = 1 + int(_rank(sample.id), 16) % (len(sample.options) - 1)
    return replace(sample, options=sample.options[shift:] + sample.options[:shift])


def flipped(sample: Sample) -> Sample | None:
    """The sample's text for its mirrored image, or None if mirroring changes neither question, options nor answer.

    A question that names both sides ("left or right?") fits either image and is not changed.
    """
    question = _exchanged_question(sample.question)
    answer, options = _exchanged(sample.answer), tuple(map(_exchanged, sample.options))
    if sample.kind == "boxes":
        answer = boxes_text([box.mirrored(sample.image_size[0]) for box in parse_boxes(answer)[0] or ()])
    if (question, answer, options) == (sample.question, sample.answer, sample.options):
        return None
    history = tuple((_exchanged_question(user), _exchanged(assistant)) for user, assistant in sample.history)
    return replace(sample, question=question, answer=answer, options=options, history=history)


def _exchanged_question(text: str) -> str:
    sides = {side.lower() for side in _SIDE.findall(text)}
    return _exchanged(text) if len(sides) == 1 else text


def _exchanged(text: str) -> str:
    def other(match: re.Match[str]) -> str:
        side, word = _OTHER[match[0].lower()], match[0]
        return side.upper() if word.isupper() else side.capitalize() if word[0].isupper() else side

    return _SIDE.sub(other, text)


def _rank(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
