"""The same questions asked in ways that show whether the image was looked at.

| control | what changes | what a model that looks does |
| --- | --- | --- |
| blind | no image | falls to what the question alone gives |
| grey | every pixel grey, same size | the same |
| shuffled | the image of another group, of the same modality where that is known | the same |
| options | a choice's options in another order, the right one under another letter | stays |
| flipped | image mirrored, left and right exchanged in question, options and gold answer | stays |

A flip is asked only where question, options or answer change by it; what names no side, or names both sides in the
question alone, has nothing to tell. Everything happens on images in memory.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageOps

from lowmed.answer.lexicon import ALL, one_of
from lowmed.evaluate.answerer import OpenImage
from lowmed.sample import Sample

REAL, SAMPLED, SAMPLED_BLIND = "real", "sampled", "sampled-blind"
CONTROLS = ("blind", "grey", "shuffled", "options", "flipped")
_SIDE = re.compile(rf"\b({one_of((*ALL.left, *ALL.right))})\b", re.IGNORECASE)
_OTHER = dict((*zip(ALL.left, ALL.right, strict=True), *zip(ALL.right, ALL.left, strict=True)))


@dataclass(frozen=True)
class Condition:
    """Samples of one split asked in one way; their ids stay, so that completions can be paired with the real ones."""

    name: str
    split: str
    samples: tuple[Sample, ...]
    open_image: OpenImage
    copies: int = 1
    temperature: float = 0.0


def choose_questions(held_out: Mapping[str, Sequence[Sample]], questions: int) -> dict[str, tuple[Sample, ...]]:
    """About so many questions, from each split in proportion; which ones depends on their ids alone."""
    total = sum(len(samples) for samples in held_out.values())
    share = min(1.0, questions / total) if total else 0.0
    result = {}
    for split, samples in held_out.items():
        ranked = sorted(samples, key=lambda sample: _rank(sample.id))[: round(share * len(samples))]
        kept = {sample.id for sample in ranked}
        result[split] = tuple(sample for sample in samples if sample.id in kept)
    return result


def conditions(split: str, asked: Sequence[Sample], pool: Sequence[Sample], open_image: OpenImage) -> list[Condition]:
    """All controls of one split.

    Args:
        split: its name.
        asked: the samples that are asked again.
        pool: the samples whose images may be lent, with `asked` among them.
        open_image: opens image references.
    """
    with_image = tuple(sample for sample in asked if sample.images)
    altered: dict[str, tuple[Iterable[Sample | None], OpenImage]] = {
        "blind": (map(without_images, with_image), open_image),
        "grey": (with_image, lambda reference: grey(open_image(reference))),
        "shuffled": (shuffled(with_image, pool), open_image),
        "options": (map(reordered, asked), open_image),
        "flipped": (map(flipped, with_image), lambda reference: ImageOps.mirror(open_image(reference))),
    }
    return [
        Condition(name, split, tuple(sample for sample in samples if sample), opened)
        for name, (samples, opened) in altered.items()
    ]


def without_images(sample: Sample) -> Sample:
    """The question alone."""
    return replace(sample, images=())


def grey(image: Image.Image) -> Image.Image:
    """Nothing to see, in the same size."""
    return Image.new("RGB", image.size, (128, 128, 128))


def shuffled(asked: Sequence[Sample], pool: Sequence[Sample]) -> list[Sample]:
    """Each sample with the images of another group: as many of them, of the same modality, none of its own.

    The images of a modality stand in one circle and each is replaced by the next, so that every one is lent about as
    often as it was asked about. A sample that nobody can lend to is left out.
    """
    circles: dict[tuple[str, int], dict[tuple[str, ...], str]] = defaultdict(dict)
    for sample in sorted(pool, key=lambda sample: _rank(" ".join(sample.images))):
        if sample.images:
            circles[sample.modality, len(sample.images)].setdefault(sample.images, sample.group)
    places = {key: {images: at for at, images in enumerate(circle)} for key, circle in circles.items()}
    lists = {key: list(circle.items()) for key, circle in circles.items()}
    result = []
    for sample in asked:
        key = sample.modality, len(sample.images)
        circle, start = lists[key], places[key][sample.images]
        following = (circle[(start + step) % len(circle)] for step in range(1, len(circle)))
        lent = next(
            (images for images, group in following if group != sample.group and not set(images) & set(sample.images)),
            None,
        )
        if lent:
            result.append(replace(sample, images=lent))
    return result


def reordered(sample: Sample) -> Sample | None:
    """A choice with its options turned so that the right one has another letter; None for other kinds."""
    if sample.kind != "choice":
        return None
    turn = 1 + int(_rank(sample.id), 16) % (len(sample.options) - 1)
    return replace(sample, options=sample.options[turn:] + sample.options[:turn])


def flipped(sample: Sample) -> Sample | None:
    """The sample as it must be asked of its mirrored image, or None where mirroring changes nothing that is asked.

    A question that names both sides ("left or right?") reads the same of either image and stays as it is.
    """
    sides = {side.lower() for side in _SIDE.findall(sample.question)}
    question = _exchanged(sample.question) if len(sides) == 1 else sample.question
    answer, options = _exchanged(sample.answer), tuple(map(_exchanged, sample.options))
    if (question, answer, options) == (sample.question, sample.answer, sample.options):
        return None
    return replace(sample, question=question, answer=answer, options=options)


def _exchanged(text: str) -> str:
    def other(result: re.Match[str]) -> str:
        side, word = _OTHER[result[0].lower()], result[0]
        return side.upper() if word.isupper() else side.capitalize() if word[0].isupper() else side

    return _SIDE.sub(other, text)


def _rank(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
