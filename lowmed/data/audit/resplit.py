"""Write a clean split next to the official one: no split shares an image, its pixels or, on request, a patient."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lowmed.data.audit.leaks import ImageDigests
from lowmed.data.group_split import connected_groups
from lowmed.data.ingest.prepared_folder import sample_line
from lowmed.files import to_jsonl, write_text
from lowmed.sample import Sample

By = Literal["image", "patient"]
DEFAULT_SHARES = {"train": 0.8, "test": 0.2}


def resplit(splits: Mapping[str, Sequence[Sample]], digests: ImageDigests, by: By) -> dict[str, list[Sample]]:
    """Split the same samples again; each split keeps about its size and its mix of kinds and modalities.

    Samples that share an image, its file or its pixels form a cluster; with `patient`, those of one group too. The
    clusters are assigned greedily, the largest first, each to the split that lacks most of its samples. The result is
    deterministic.

    Args:
        splits: the samples of the official splits.
        digests: digests of the image files.
        by: `image` or `patient`, which the new splits must not share.
    """
    rows = [(split, sample) for split, samples in splits.items() for sample in samples]
    total = len(rows)
    shares = {split: len(samples) / total for split, samples in splits.items() if samples}
    shares = shares if len(shares) > 1 else DEFAULT_SHARES
    cluster_of = connected_groups([_with_ties(sample, digests, by) for _, sample in rows])
    clusters: dict[str, list[int]] = {}
    for index, (_, sample) in enumerate(rows):
        clusters.setdefault(cluster_of[sample.id], []).append(index)
    strata = Counter(_stratum(sample) for _, sample in rows)
    missing = {(split, stratum): share * strata[stratum] for split, share in shares.items() for stratum in strata}
    assigned: dict[int, str] = {}
    for members in sorted(clusters.values(), key=lambda cluster: (-len(cluster), _order(rows[cluster[0]][1]))):
        sizes = Counter(_stratum(rows[index][1]) for index in members)
        best = max(shares, key=lambda split: (_gain(split, sizes, missing, strata), split == "train", split))
        for stratum, count in sizes.items():
            missing[best, stratum] -= count
        assigned |= dict.fromkeys(members, best)
    return {split: [rows[index][1] for index in range(total) if assigned[index] == split] for split in shares}


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


def _stratum(sample: Sample) -> str:
    return f"{sample.kind} {sample.modality}"


def _order(sample: Sample) -> str:
    """An order that is independent of the content of the rows."""
    return hashlib.sha256(sample.id.encode()).hexdigest()


def _gain(split: str, sizes: Counter[str], missing: Mapping[tuple[str, str], float], strata: Counter[str]) -> float:
    return sum(count * missing[split, stratum] / strata[stratum] for stratum, count in sizes.items())
