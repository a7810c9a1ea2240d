"""A clean split beside the official one: no image, no equal pixels and, where asked, no patient on two sides."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from lowmed.data.audit.leaks import Facts
from lowmed.data.group_split import connected
from lowmed.files import write_text
from lowmed.sample import Sample

By = Literal["image", "patient"]
DEFAULT = {"train": 0.8, "test": 0.2}


def resplit(splits: Mapping[str, Sequence[Sample]], known: Facts, by: By) -> dict[str, list[Sample]]:
    """The same samples divided anew, each split about as large as before, and alike in kinds and modalities.

    Samples hang together that share an image, its file or its pixels, and with `patient` those of one group. The
    whole clusters are dealt out, large ones first, each to the split that lacks most of what it holds. Nothing is
    drawn: the same data give the same split.
    """
    rows = [(split, sample) for split, samples in splits.items() for sample in samples]
    total = len(rows)
    wanted = {split: len(samples) / total for split, samples in splits.items() if samples}
    wanted = wanted if len(wanted) > 1 else DEFAULT
    together = connected([_tied(sample, known, by) for _, sample in rows])
    clusters: dict[str, list[int]] = {}
    for at, (_, sample) in enumerate(rows):
        clusters.setdefault(together[sample.id], []).append(at)
    strata = Counter(_stratum(sample) for _, sample in rows)
    lacking = {(split, stratum): share * strata[stratum] for split, share in wanted.items() for stratum in strata}
    placed: dict[int, str] = {}
    for members in sorted(clusters.values(), key=lambda own: (-len(own), _order(rows[own[0]][1]))):
        held = Counter(_stratum(rows[at][1]) for at in members)
        best = max(wanted, key=lambda split: (_gain(split, held, lacking, strata), split == "train", split))
        for stratum, count in held.items():
            lacking[best, stratum] -= count
        placed |= dict.fromkeys(members, best)
    return {split: [rows[at][1] for at in range(total) if placed[at] == split] for split in wanted}


def write(folder: Path, splits: Mapping[str, Sequence[Sample]], by: By) -> Path:
    """`samples.by-image.jsonl` or `samples.by-patient.jsonl` beside `samples.jsonl`, to be named as data.path."""
    path = folder / f"samples.by-{by}.jsonl"
    lines = (
        json.dumps({**asdict(sample), "split": split}, ensure_ascii=False)
        for split, samples in splits.items()
        for sample in samples
    )
    write_text(path, "".join(f"{line}\n" for line in lines))
    return path


def _tied(sample: Sample, known: Facts, by: By) -> Sample:
    """The sample with everything that ties it to others as its images, and itself as its group."""
    ties = {*sample.images}
    for digests in (known.files, known.pixels):
        ties |= {digest for image in sample.images for digest in digests.get(image, ())}
    if by == "patient" or not sample.images:
        ties.add(f"group {sample.group}")
    return replace(sample, group=sample.id, images=tuple(sorted(ties)))


def _stratum(sample: Sample) -> str:
    return f"{sample.kind} {sample.modality}"


def _order(sample: Sample) -> str:
    """An order that has nothing to do with the content of the rows."""
    return hashlib.sha256(sample.id.encode()).hexdigest()


def _gain(split: str, held: Counter[str], lacking: Mapping[tuple[str, str], float], strata: Counter[str]) -> float:
    return sum(count * lacking[split, stratum] / strata[stratum] for stratum, count in held.items())
