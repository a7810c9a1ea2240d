"""Find exact overlaps between two parts of the data: ids, images, files, decoded pixels, groups."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product

from lowmed.data.audit.image_scan import ImageScan
from lowmed.data.audit.record import LeakRecord
from lowmed.data.group_split import patient_groups
from lowmed.data.ingest.image_store import StoredFile
from lowmed.sample import Sample

SHOWN = 12
Digests = Mapping[str, frozenset[str]]  # image reference -> digests


@dataclass(frozen=True)
class Part:
    """A split, or the samples of one source in it (`by_source` is then true); `label` names it in a report."""

    label: str
    split: str
    samples: tuple[Sample, ...]
    by_source: bool = False


@dataclass(frozen=True)
class ImageDigests:
    """Digests of the source files and of the decoded pixels of each image reference."""

    files: Digests
    pixels: Digests


@dataclass(frozen=True, slots=True)
class Leak:
    """Keys of part `b` that also occur in part `a`; the fields are those of LeakRecord."""

    kind: str
    a: str
    b: str
    shared: int
    of: int
    questions: int
    of_questions: int
    trained: bool
    examples: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The leak in words."""
        what = f"{self.shared} of {self.of} {self.b} {self.kind} are also in {self.a}"
        return f"{what} ({self.questions} of {self.of_questions} questions)"

    @property
    def record(self) -> LeakRecord:
        """The leak for the audit record."""
        return LeakRecord(**asdict(self), sentence=self.sentence)


def image_digests(stored: Sequence[StoredFile], scans: Iterable[ImageScan] = ()) -> ImageDigests:
    """The digests by image reference; a reference has several if several files hold the same image.

    Args:
        stored: the records of the import.
        scans: scans of the images, for those that were not imported.
    """
    recorded = {image for file in stored for image in file.images}
    scanned = (
        StoredFile(scan.file, (scan.reference,), (scan.pixels,), (scan.size,))
        for scan in scans
        if not scan.problem and scan.reference not in recorded
    )
    files: dict[str, set[str]] = {}
    pixels: dict[str, set[str]] = {}
    for file in (*stored, *scanned):
        for reference, digest in zip(file.images, file.pixels, strict=False):
            files.setdefault(reference, set()).add(file.file)
            pixels.setdefault(reference, set()).add(digest)
    frozen = [{reference: frozenset(values) for reference, values in digests.items()} for digests in (files, pixels)]
    return ImageDigests(*frozen)


def parts(splits: Mapping[str, Sequence[Sample]], name: str = "") -> list[Part]:
    """A part for each split, and for each source in it if the data set has several sources."""
    prefix = f"{name} " if name else ""
    by_split = [Part(f"{prefix}{split}", split, tuple(samples)) for split, samples in splits.items() if samples]
    sources = sorted({sample.source for part in by_split for sample in part.samples})
    if len(sources) < 2:
        return by_split
    return by_split + [
        Part(f"{prefix}{source} {part.split}", part.split, samples, by_source=True)
        for part in by_split
        for source in sources
        if (samples := tuple(sample for sample in part.samples if sample.source == source))
    ]


def within(data_parts: Sequence[Part], digests: ImageDigests) -> list[Leak]:
    """Overlaps between the splits of one data set.

    If several files hold one image, a row does not show which file it used. Such files are not counted as shared;
    their pixels are.
    """
    digests = ImageDigests({image: files for image, files in digests.files.items() if len(files) == 1}, digests.pixels)
    pairs = (sorted(pair, key=lambda part: part.split != "train") for pair in combinations(data_parts, 2))
    return [
        leak
        for a, b in pairs
        if a.split != b.split and a.by_source == b.by_source
        for leak in _between(a, b, digests, digests)
    ]


def across(
    data_parts: Sequence[Part], digests: ImageDigests, other_parts: Sequence[Part], other_digests: ImageDigests
) -> list[Leak]:
    """Overlaps between two data sets, for pairs of a training part and another part."""
    return [
        leak
        for part, other in product(data_parts, other_parts)
        if (part.split == "train") != (other.split == "train") and part.by_source == other.by_source
        for leak in (
            _between(other, part, other_digests, digests)
            if other.split == "train"
            else _between(part, other, digests, other_digests)
        )
    ]


def _between(a: Part, b: Part, digests_a: ImageDigests, digests_b: ImageDigests) -> Iterator[Leak]:
    for (kind, keys_a), (_, keys_b) in zip(_keys(a, digests_a), _keys(b, digests_b), strict=True):
        in_a = {key for keys in keys_a for key in keys}
        shared = Counter(key for keys in keys_b for key in keys if key in in_a)
        if shared:
            questions = sum(not keys.isdisjoint(shared) for keys in keys_b)
            in_b = {key for keys in keys_b for key in keys}
            trained = a.split == "train" or b.split == "train"
            examples = tuple(sorted(shared))[:SHOWN]
            yield Leak(kind, a.label, b.label, len(shared), len(in_b), questions, len(keys_b), trained, examples)


def _keys(part: Part, digests: ImageDigests) -> Iterator[tuple[str, list[frozenset[str]]]]:
    """The keys of every sample, by kind of key."""
    yield "ids", [frozenset({f"{sample.source}/{sample.id}"}) for sample in part.samples]
    yield "images", [frozenset(sample.images) for sample in part.samples]
    for kind, by_image in (("files", digests.files), ("decoded pixels", digests.pixels)):
        yield (
            kind,
            [
                frozenset(digest for image in sample.images for digest in by_image.get(image, ()))
                for sample in part.samples
            ],
        )
    groups = patient_groups(part.samples)
    yield "groups", [frozenset({sample.group} & groups) for sample in part.samples]
