"""The identity of data: digests of rows that show whether two copies of a data set are equal, and how they differ.

A digest covers what a model is trained on: texts, options, answers and pixels. Ids and groups may be pseudonyms, which
differ from machine to machine, so that ids are not covered, and of groups only which rows they connect.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lowmed.data.group_split import connected_groups
from lowmed.sample import Sample

TEXTS = ("question", "answer", "kind", "options", "explanation", "modality", "topic", "unit", "lower", "upper")
SHOWN_IDS = 3
HEX = 20  # hex digits of a digest; two of a billion rows are equal with a probability of 1e-6


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """The digests of one row.

    Attributes:
        id: the sample's id, which no digest covers.
        split: the published split.
        text: digest of the texts.
        images: digest of the images.
        group: digest of all rows that share a group or an image with this one, directly or through others.
        part: the part of the run's split, which the digest of the data does not cover; "" before the split.
    """

    id: str
    split: str
    text: str
    images: str
    group: str
    part: str = ""

    @property
    def content(self) -> tuple[str, str, str]:
        """Everything but the id and the group."""
        return self.split, self.text, self.images


def identify(
    splits: Mapping[str, Sequence[Sample]],
    pixels: Mapping[str, str],
    max_image_tokens: int | str | None = None,
    *,
    by_source: bool = False,
) -> tuple[RowIdentity, ...]:
    """The digests of all rows, split after split.

    Args:
        splits: the samples by their published split.
        pixels: a digest for each image reference; a reference without one is its own digest.
        max_image_tokens: the budget that the images were resized to when they were stored; None if they were not.
        by_source: whether the rows of several data sets were merged; a row's data set is then part of its split.
    """
    rows = [
        (f"{split}, {sample.source}" if by_source else split, sample)
        for split, samples in splits.items()
        for sample in samples
    ]
    texts = [_hash(_texts(sample)) for _, sample in rows]
    by_images = {
        images: _hash([max_image_tokens, *(pixels.get(image, image) for image in images)] if images else [])
        for images in {sample.images for _, sample in rows}
    }
    images = [by_images[sample.images] for _, sample in rows]
    roots = connected_groups(sample for _, sample in rows)
    members: dict[str, list[str]] = {}
    for (split, sample), text, image in zip(rows, texts, images, strict=True):
        members.setdefault(roots[sample.group], []).append(f"{split} {text} {image}")
    groups = {root: _hash(sorted(contents)) for root, contents in members.items()}
    return tuple(
        RowIdentity(sample.id, split, text, image, groups[roots[sample.group]])
        for (split, sample), text, image in zip(rows, texts, images, strict=True)
    )


def digest(rows: Iterable[RowIdentity]) -> str:
    """The SHA-256 of all rows, independent of their order, their ids and the names of their groups."""
    lines = sorted(json.dumps([*row.content, row.group]) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def changes(before: Iterable[RowIdentity], after: Iterable[RowIdentity]) -> list[str]:
    """What changed between two copies: rows added, removed, edited, with other images, in another group or part.

    Returns:
        One line for each kind of change, with the number of rows and the first ids; empty if the copies are equal.
    """
    old, new = tuple(before), tuple(after)
    lost, gained = _without(old, new), _without(new, old)
    both: list[tuple[RowIdentity, RowIdentity]] = []
    for name in ("id", "images", "text"):  # without ids of its own, a changed row gets a new id
        pairs = _pairs(lost, gained, name)
        both += pairs
        lost, gained = _less(lost, [a for a, _ in pairs]), _less(gained, [b for _, b in pairs])
    lines = {
        "removed": [row.id for row in lost],
        "added": [row.id for row in gained],
        "with another question, answer or other text": [b.id for a, b in both if a.text != b.text],
        "with other images": [b.id for a, b in both if a.images != b.images],
        "in another published split": [b.id for a, b in both if a.split != b.split],
    }
    if not any(lines.values()):
        lines["grouped with other rows"] = _moved(old, new, "group")
        lines["in another part of the run's split"] = _moved(old, new, "part")
    return [_line(what, ids) for what, ids in lines.items() if ids]


def _texts(sample: Sample) -> list[object]:
    """The texts of a digest. Without history and accepted answers, they are those of earlier versions."""
    more = [sample.history] if sample.history else []
    return [
        *(getattr(sample, name) for name in TEXTS),
        *more,
        *([{"accepted": sample.accepted}] if sample.accepted else []),
        *([{"image_size": sample.image_size}] if sample.kind == "boxes" else []),
    ]


def _without(rows: Sequence[RowIdentity], others: Sequence[RowIdentity]) -> list[RowIdentity]:
    """The rows whose content the others do not have, or have fewer times."""
    left = Counter(row.content for row in others)
    result = []
    for row in rows:
        if left[row.content] > 0:
            left[row.content] -= 1
        else:
            result.append(row)
    return result


def _pairs(
    lost: Sequence[RowIdentity], gained: Sequence[RowIdentity], name: str
) -> list[tuple[RowIdentity, RowIdentity]]:
    """A lost and a gained row with the same value of the field `name`, if no other lost or gained row has it.

    Having no images does not make two rows one.
    """
    sides = []
    for rows in (lost, gained):
        count = Counter(getattr(row, name) for row in rows)
        sides.append({getattr(row, name): row for row in rows if count[getattr(row, name)] == 1})
    return [(row, sides[1][value]) for value, row in sides[0].items() if value in sides[1] and value != NO_IMAGES]


def _less(rows: Sequence[RowIdentity], others: Sequence[RowIdentity]) -> list[RowIdentity]:
    ids = {row.id for row in others}
    return [row for row in rows if row.id not in ids]


def _moved(before: Sequence[RowIdentity], after: Sequence[RowIdentity], name: str) -> list[str]:
    """The ids of rows with the same content and another value of the field `name`."""
    count = Counter((*row.content, getattr(row, name)) for row in before)
    count.subtract((*row.content, getattr(row, name)) for row in after)
    return [row.id for row in after if count[*row.content, getattr(row, name)] < 0]


def _line(what: str, ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN_IDS:,} more" if len(ids) > SHOWN_IDS else ""
    return f"{len(ids):,} {'row' if len(ids) == 1 else 'rows'} {what}: {', '.join(ids[:SHOWN_IDS])}{more}"


def _hash(content: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:HEX]


NO_IMAGES = _hash([])
