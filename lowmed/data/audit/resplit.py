"""Write a clean split next to the official one: no split shares an image, its pixels or, on request, a patient."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lowmed.data.audit.leaks import ImageDigests
from lowmed.data.group_split import by_group
from lowmed.data.ingest.prepared_folder import sample_line
from lowmed.files import to_jsonl, write_text
from lowmed.sample import Sample

By = Literal["image", "patient"]
SEED = 0  # one clean split for everybody
DEFAULT_SHARES = {"train": 0.8, "test": 0.2}


def resplit(splits: Mapping[str, Sequence[Sample]], digests: ImageDigests, by: By) -> dict[str, list[Sample]]:
    """Split the same samples again, with the sizes of the official splits, as `by_group` does.

    Samples that share an image, its file or its pixels stay together; with `patient`, those of one group too.

    Args:
        splits: the samples of the official splits.
        digests: digests of the image files.
        by: `image` or `patient`, which the new splits must not share.

    Raises:
        DataError: there are fewer separate groups than splits.
    """
    rows = [(split, sample) for split, samples in splits.items() for sample in samples]
    total = len(rows)
    shares = {split: len(samples) / total for split, samples in splits.items() if samples}
    shares = shares if len(shares) > 1 else DEFAULT_SHARES
    tied = [_with_ties(sample, digests, by) for _, sample in rows]
    parts = by_group(tied, shares, SEED)
    part_of = {sample.id: name for name, part in parts.items() for sample in part}
    return {name: [sample for _, sample in rows if part_of[sample.id] == name] for name in shares}


def write(folder: Path, splits: Mapping[str, Sequence[Sample]], by: By) -> Path:
    """Write `samples.by-image.jsonl` or `samples.by-patient.jsonl`, which a recipe can name as data.path."""
    path = folder / f"samples.by-{by}.jsonl"
    rows = (sample_line(sample, split) for split, samples in splits.items() for sample in samples)
    write_text(path, to_jsonl(rows))
    return path


def _with_ties(sample: Sample, digests: ImageDigests, by: By) -> Sample:
    """The sample with its id as the group, and everything that ties it to other samples as its images."""
    ties = {*sample.images}
    for by_image in (digests.files, digests.pixels):
        ties |= {digest for image in sample.images for digest in by_image.get(image, ())}
    if by == "patient" or not sample.images:
        ties.add(f"group {sample.group}")
    return replace(sample, group=sample.id, images=tuple(sorted(ties)))
