"""Exchanged images: each question with the images of another group, of the same modality if known."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from lowmed.sample import Sample


def exchanged_images(samples: Sequence[Sample], pool: Sequence[Sample]) -> list[tuple[str, ...] | None]:
    """The images of another group for each sample: the same number, the same modality, none of its own.

    The images of a modality form one cycle and each is replaced by the next. So every image is used about as often
    as before.

    Args:
        samples: the samples.
        pool: the samples whose images may replace others; includes `samples`.

    Returns:
        References of images; None for a sample without images or without a suitable replacement.
    """
    cycles: dict[tuple[str, int], dict[tuple[str, ...], str]] = defaultdict(dict)
    for sample in sorted(pool, key=lambda sample: _rank(" ".join(sample.images))):
        if sample.images:
            cycles[sample.modality, len(sample.images)].setdefault(sample.images, sample.group)
    positions = {key: {images: index for index, images in enumerate(cycle)} for key, cycle in cycles.items()}
    lists = {key: list(cycle.items()) for key, cycle in cycles.items()}
    result: list[tuple[str, ...] | None] = []
    for sample in samples:
        if not sample.images:
            result.append(None)
            continue
        key = sample.modality, len(sample.images)
        cycle, start = lists[key], positions[key][sample.images]
        following = (cycle[(start + step) % len(cycle)] for step in range(1, len(cycle)))
        suitable = (
            images for images, group in following if group != sample.group and not set(images) & set(sample.images)
        )
        result.append(next(suitable, None))
    return result


def _rank(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
