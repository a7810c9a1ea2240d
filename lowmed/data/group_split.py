"""Split samples so that no two parts share a patient or an image."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from lowmed.errors import DataError, RecipeError
from lowmed.sample import Sample

IMAGE_GROUP = "image:"  # begins the group of a sample whose patient is unknown
ALL_ROWS = ("rows", "")
NO_PIXELS: Mapping[str, str] = MappingProxyType({})
ROUNDING = 1e-9  # a part with room for 2.9999999999 rows has room for 3


def by_group(
    samples: Iterable[Sample],
    fractions: Mapping[str, float],
    seed: int,
    pixels: Mapping[str, str] = NO_PIXELS,
    *,
    by_source: bool = False,
) -> dict[str, tuple[Sample, ...]]:
    """Split samples by group. Groups that share an image stay together, and samples keep their order.

    The size of each part is exact: with two parts, it differs from its fraction of the samples by less than the largest
    group. Each part has about the same shares of kinds, modalities and frequent answers. The split depends on the
    content of the samples and the seed only: not on ids, on names of groups, or on the order of the samples.

    Groups are assigned one by one, the largest first, each to the part that lacks most of its samples (stratification
    after Sechidis et al. 2011, with relative in place of absolute numbers, so that large groups are in all parts).

    Args:
        samples: the samples.
        fractions: the fraction of the samples in each part, by its name; they add up to 1.
        seed: selects one of all splits.
        pixels: a digest for each image reference; a reference without one counts by its name.
        by_source: give each part about the same shares of the sources too.

    Raises:
        RecipeError: the fractions do not add up to 1.
        DataError: a part with a fraction above 0 would be empty, because there are fewer groups than parts.
    """
    if not fractions or min(fractions.values()) < 0 or not math.isclose(sum(fractions.values()), 1):
        raise RecipeError(
            f"the fractions {dict(fractions)} do not add up to 1", "data.held_out", "use e.g. 0.8 and 0.2"
        )
    rows = tuple(samples)
    roots = connected_groups(rows)
    clusters: dict[str, list[Sample]] = {}
    for row in rows:
        clusters.setdefault(roots[row.group], []).append(row)
    used = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    if len(clusters) < len(used):
        raise DataError(
            f"{len(used)} parts cannot be made: {len(rows)} samples in {len(clusters)} separate groups",
            "data.split_by",
            "add groups (patients or images), or use an official split",
        )
    part_of = _assign(clusters, used, seed, pixels, by_source)
    splits: dict[str, list[Sample]] = {name: [] for name in fractions}
    for row in rows:
        splits[part_of[roots[row.group]]].append(row)
    return {name: tuple(part) for name, part in splits.items()}


def draw(samples: Sequence[Sample], count: int, seed: int, pixels: Mapping[str, str] = NO_PIXELS) -> tuple[Sample, ...]:
    """At most `count` random samples in their order, drawn by their content and the seed; `pixels` as in `by_group`."""
    ranked = sorted(range(len(samples)), key=lambda index: _key([samples[index]], seed, pixels))
    return tuple(samples[index] for index in sorted(ranked[:count]))


def shared_images(a: Iterable[Sample], b: Iterable[Sample]) -> set[str]:
    """The references of the images that occur in both."""
    return _images(a) & _images(b)


def patient_groups(samples: Iterable[Sample]) -> set[str]:
    """The groups that are patients, not images."""
    rows = tuple(samples)
    return {row.group for row in rows if not row.group.startswith(IMAGE_GROUP)} - _images(rows)


def _images(samples: Iterable[Sample]) -> set[str]:
    return {reference for sample in samples for reference in sample.images}


def connected_groups(samples: Iterable[Sample]) -> dict[str, str]:
    """Union-find over groups that share images: group -> alphabetically first group of its connected component."""
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while parent.setdefault(group, group) != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    owner: dict[str, str] = {}
    for sample in samples:
        group = root(sample.group)
        for reference in sample.images:
            other = root(owner.setdefault(reference, sample.group))
            if other != group:
                group, second = sorted((group, other))
                parent[second] = group
    return {group: root(group) for group in parent}


def _assign(
    clusters: Mapping[str, Sequence[Sample]],
    fractions: Mapping[str, float],
    seed: int,
    pixels: Mapping[str, str],
    by_source: bool,
) -> dict[str, str]:
    """The part of each cluster."""
    of_cluster = {name: _labels(rows, by_source) for name, rows in clusters.items()}
    total: Counter[tuple[str, str]] = Counter()
    for counts in of_cluster.values():
        total.update(counts)
    smallest = min(fractions.values())
    total = Counter({label: count for label, count in total.items() if count * smallest >= 1 or label == ALL_ROWS})
    wanted = {name: {label: fraction * count for label, count in total.items()} for name, fraction in fractions.items()}
    missing = {name: dict(counts) for name, counts in wanted.items()}
    keys = {name: _key(rows, seed, pixels) for name, rows in clusters.items()}
    order = sorted(clusters, key=lambda name: (-len(clusters[name]), keys[name]))
    empty = set(fractions)
    part_of: dict[str, str] = {}
    for position, cluster in enumerate(order):
        size = len(clusters[cluster])
        labels = {label: count for label, count in of_cluster[cluster].items() if label in total}
        names = sorted(empty) if len(empty) >= len(order) - position else list(fractions)
        fitting = [name for name in names if missing[name][ALL_ROWS] >= size - ROUNDING]
        if fitting:
            lacks = {
                name: sum(count * missing[name][label] / wanted[name][label] for label, count in labels.items())
                for name in fitting
            }
        else:
            lacks = {name: missing[name][ALL_ROWS] for name in names}
        part = max(lacks, key=lambda name: (round(lacks[name], 9), _tie(keys[cluster], name, fractions)))
        for label, count in labels.items():
            missing[part][label] -= count
        empty.discard(part)
        part_of[cluster] = part
    return part_of


def _labels(rows: Iterable[Sample], by_source: bool) -> Counter[tuple[str, str]]:
    """How many rows there are, and how many of each kind, answer, modality and, if required, source."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        counts.update((ALL_ROWS, ("kind", row.kind), ("answer", row.answer), ("modality", row.modality)))
        if by_source:
            counts["source", row.source] += 1
    return counts


def _key(rows: Iterable[Sample], seed: int, pixels: Mapping[str, str]) -> str:
    """A digest of the content of rows and of the seed. Ids and groups may be pseudonyms, which differ by machine."""
    contents = sorted(
        json.dumps(
            [
                [pixels.get(image, image) for image in row.images],
                row.question,
                row.options,
                row.answer,
                *([row.history] if row.history else []),  # keys of rows without one stay as they were
            ]
        )
        for row in rows
    )
    return hashlib.sha256("\n".join([str(seed), *contents]).encode()).hexdigest()


def _tie(key: str, name: str, fractions: Mapping[str, float]) -> float:
    """A random number that is the largest of all parts with the probability of the part's fraction."""
    uniform = (int(hashlib.sha256(f"{key}{name}".encode()).hexdigest()[:13], 16) + 1) / 2**52
    return math.pow(uniform, 1 / fractions[name])
