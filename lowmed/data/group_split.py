"""Split samples so that no two parts share a patient or an image."""

import hashlib
import math
from collections.abc import Iterable, Mapping

from lowmed.errors import DataError, RecipeError
from lowmed.sample import Sample

IMAGE_GROUP = "image:"  # begins the group of a sample whose patient is unknown


def by_group(samples: Iterable[Sample], fractions: Mapping[str, float], seed: int) -> dict[str, tuple[Sample, ...]]:
    """Split samples by group. Groups that share an image stay together, and samples keep their order.

    The part of a group depends on its name and the seed only, so that rows added later do not move other rows. The
    fractions are therefore exact on average only.

    Args:
        samples: the samples.
        fractions: the fraction of the groups in each part, by its name; they add up to 1.
        seed: selects one of all splits.

    Raises:
        RecipeError: the fractions do not add up to 1.
        DataError: a part with a fraction above 0 would be empty.
    """
    if not fractions or min(fractions.values()) < 0 or not math.isclose(sum(fractions.values()), 1):
        raise RecipeError(
            f"the fractions {dict(fractions)} do not add up to 1", "data.held_out", "use e.g. 0.8 and 0.2"
        )
    rows = tuple(samples)
    roots = connected_groups(rows)
    part_of = {group: _part(root, fractions, seed) for group, root in roots.items()}
    splits = {name: tuple(row for row in rows if part_of[row.group] == name) for name in fractions}
    for name, fraction in fractions.items():
        if fraction > 0 and not splits[name]:
            raise DataError(
                f"split `{name}` would be empty: {len(rows)} samples in {len(set(roots.values()))} separate groups",
                "data.split_by",
                "add groups (patients or images), raise data.held_out, or try another seed",
            )
    return splits


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
        for reference in sample.images:
            first, second = sorted((root(sample.group), root(owner.setdefault(reference, sample.group))))
            parent[second] = first
        root(sample.group)
    return {group: root(group) for group in parent}


def _part(group: str, fractions: Mapping[str, float], seed: int) -> str:
    draw = int.from_bytes(hashlib.sha256(f"{seed}\0{group}".encode()).digest()[:8]) / 2**64
    reached = 0.0
    for name, fraction in fractions.items():
        reached += fraction
        if draw < reached:
            return name
    return [name for name, fraction in fractions.items() if fraction > 0][-1]  # rounding may leave the sum below 1
