"""A loaded data set: its samples by split, its rejected rows, and how its images are opened."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from PIL import Image

from lowmed.answer.lexicon import ALL
from lowmed.data import identity
from lowmed.data.overlap import describe_overlap
from lowmed.errors import DataError
from lowmed.sample import Sample

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be used: its location, and the reason."""

    where: str
    reason: str


@dataclass(frozen=True)
class DataSet:
    """Samples by their official split.

    Attributes:
        source: the name of the source.
        splits: the samples of each split.
        rejected: rows that cannot be used.
        open_image: takes a reference of `Sample.images` and returns the decoded image, or raises DataError.
        unused: image files that no sample refers to.
        pixels: a digest for each image reference, equal for equal images; a reference without one counts by its name.
        max_image_tokens: the budget that the images were resized to when they were stored; None if they were not, and a
            text if it differs between merged data sets.
        merged: the names of the data sets that were merged into this one; empty if it is a single one.
        folder: the folder that image references are relative to; None if the images are generated or merged.
    """

    source: str
    splits: Mapping[str, tuple[Sample, ...]]
    rejected: tuple[RejectedRow, ...]
    open_image: Callable[[str], Image.Image]
    unused: tuple[str, ...] = ()
    pixels: Mapping[str, str] = field(default_factory=dict)
    max_image_tokens: int | str | None = None
    merged: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, split after split."""
        return tuple(sample for split in self.splits.values() for sample in split)

    @cached_property
    def rows(self) -> tuple[identity.RowIdentity, ...]:
        """The digests of all rows, in the order of `samples`."""
        return identity.identify(self.splits, self.pixels, self.max_image_tokens, by_source=bool(self.merged))

    @property
    def digest(self) -> str:
        """The SHA-256 of the content and the groups of all rows, independent of order, ids and names of groups."""
        return identity.digest(self.rows)

    def describe(self) -> str:
        """Rows, distinct images and kinds of each split, and rejected rows by reason, as lines to print."""
        lines = [f"{self.source}: {len(self.samples):,} samples"]
        for name, samples in self.splits.items():
            images = {reference for sample in samples for reference in sample.images}
            lines.append(f"  {name}: {len(samples):,} rows, {len(images):,} images; {_kinds(samples)}")
        repeated = _repeated(self.samples)
        if repeated:
            lines.append(f"  repeated: {repeated:,} rows repeat an earlier question about the same images")
        if self.merged:
            lines += [f"  {line}" for line in describe_overlap(self.samples)]
        lines.append(f"  rejected: {len(self.rejected):,} rows")
        by_reason = Counter(row.reason for row in self.rejected)
        for reason, count in by_reason.most_common():
            first = next(row.where for row in self.rejected if row.reason == reason)
            lines.append(f"    {count:,} x {reason} (first: {first})")
        if self.unused:
            lines.append(f"  unused images: {len(self.unused):,} (first: {self.unused[0]})")
        return "\n".join(lines)


def is_yes_no(answer: str) -> bool:
    """Whether a gold answer is exactly yes or no. Other closed questions exist: "left or right?"."""
    return answer.strip().lower() in (*ALL.yes_in_text, *ALL.no_in_text)


def collect_samples(
    source: str, rows: Iterable[tuple[str, Row]], read: Callable[[Row], tuple[str, Sample]]
) -> tuple[dict[str, tuple[Sample, ...]], tuple[RejectedRow, ...]]:
    """Convert rows to samples by split, and collect the rows that cannot be converted.

    Args:
        source: names the data in the error message.
        rows: the location and content of each row.
        read: returns split and sample of a row, or raises ValueError with the reason to reject it.

    Raises:
        DataError: every row was rejected.
    """
    splits: dict[str, list[Sample]] = {}
    rejected: list[RejectedRow] = []
    ids: set[str] = set()
    for where, row in rows:
        try:
            split, sample = read(row)
            if sample.id in ids:
                raise ValueError("an earlier row has the same id")
        except ValueError as error:
            rejected.append(RejectedRow(where, str(error)))
            continue
        ids.add(sample.id)
        splits.setdefault(split, []).append(sample)
    if not splits:
        reasons = Counter(row.reason for row in rejected).most_common(3)
        raise DataError(
            "no row can be used" + "".join(f"; {count} x {reason}" for reason, count in reasons),
            f"{source}, {rejected[0].where}" if rejected else source,
            "correct the rows, or set data.path to another copy",
        )
    return {split: tuple(samples) for split, samples in splits.items()}, tuple(rejected)


def _kinds(samples: tuple[Sample, ...]) -> str:
    counts = Counter(sample.kind for sample in samples)
    parts = [f"{kind} {count:,}" for kind, count in sorted(counts.items())]
    yes_no = sum(is_yes_no(sample.answer) for sample in samples)
    return ", ".join(parts) + f" (yes/no answers {yes_no:,})"


def _repeated(samples: tuple[Sample, ...]) -> int:
    return len(samples) - len({(sample.images, sample.history, sample.question) for sample in samples})
