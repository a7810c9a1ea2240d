"""What two parts of the data share: ids, images, files, decoded pixels, groups. All of it is certain."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any

from lowmed.data.ingest.image_store import StoredFile
from lowmed.sample import Sample

SHOWN = 12
Keys = Mapping[str, frozenset[str]]  # image reference -> digests


@dataclass(frozen=True)
class Part:
    """A split, or what one source has in it (`whole` is then false); `label` names it in a report."""

    label: str
    split: str
    samples: tuple[Sample, ...]
    whole: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of the files behind each image reference of a data set."""

    files: Keys
    pixels: Keys


@dataclass(frozen=True, slots=True)
class Leak:
    """So many of the distinct keys of part `b` also occur in part `a`, and so many of its questions hang on them."""

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
    def told(self) -> str:
        """As a sentence."""
        what = f"{self.shared} of {self.of} {self.b} {self.kind} are also in {self.a}"
        return f"{what} ({self.questions} of {self.of_questions} questions)"

    @property
    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"told": self.told}


def facts(stored: Sequence[StoredFile]) -> Facts:
    """Digests by image reference; equal images of several files have several."""
    files: dict[str, set[str]] = {}
    pixels: dict[str, set[str]] = {}
    for each in stored:
        for reference, digest in zip(each.images, each.pixels, strict=False):
            files.setdefault(reference, set()).add(each.file)
            pixels.setdefault(reference, set()).add(digest)
    frozen = [{reference: frozenset(result) for reference, result in keys.items()} for keys in (files, pixels)]
    return Facts(*frozen)


def parts(splits: Mapping[str, Sequence[Sample]], name: str = "") -> list[Part]:
    """A part for each split, and where a data set has several sources, one for each of them too."""
    before = f"{name} " if name else ""
    whole = [Part(f"{before}{split}", split, tuple(samples)) for split, samples in splits.items() if samples]
    sources = sorted({sample.source for part in whole for sample in part.samples})
    if len(sources) < 2:
        return whole
    return whole + [
        Part(f"{before}{source} {part.split}", part.split, own, whole=False)
        for part in whole
        for source in sources
        if (own := tuple(sample for sample in part.samples if sample.source == source))
    ]


def within(result: Sequence[Part], known: Facts) -> list[Leak]:
    """What the splits of one data set share; a split never leaks into itself.

    Where several files hold one image, rows do not tell which was theirs: the files are then not called shared,
    the pixels are.
    """
    known = Facts({image: files for image, files in known.files.items() if len(files) == 1}, known.pixels)
    pairs = (sorted(pair, key=lambda part: part.split != "train") for pair in combinations(result, 2))
    return [
        leak for a, b in pairs if a.split != b.split and a.whole == b.whole for leak in _between(a, b, known, known)
    ]


def across(result: Sequence[Part], known: Facts, others: Sequence[Part], theirs: Facts) -> list[Leak]:
    """What two data sets share where one side of it is trained on and the other is not."""
    return [
        leak
        for mine, other in product(result, others)
        if (mine.split == "train") != (other.split == "train") and mine.whole == other.whole
        for leak in (
            _between(other, mine, theirs, known) if other.split == "train" else _between(mine, other, known, theirs)
        )
    ]


def _between(a: Part, b: Part, known_a: Facts, known_b: Facts) -> Iterator[Leak]:
    for (kind, left), (_, right) in zip(_keys(a, known_a), _keys(b, known_b), strict=True):
        there = {key for keys in left for key in keys}
        shared = Counter(key for keys in right for key in keys if key in there)
        if shared:
            questions = sum(not keys.isdisjoint(shared) for keys in right)
            every = {key for keys in right for key in keys}
            trained = a.split == "train" or b.split == "train"
            shown = tuple(sorted(shared))[:SHOWN]
            yield Leak(kind, a.label, b.label, len(shared), len(every), questions, len(right), trained, shown)


def _keys(part: Part, known: Facts) -> Iterator[tuple[str, list[frozenset[str]]]]:
    """For each kind of key, those of every sample."""
    yield "ids", [frozenset({f"{sample.source}/{sample.id}"}) for sample in part.samples]
    yield "images", [frozenset(sample.images) for sample in part.samples]
    for name, digests in (("files", known.files), ("decoded pixels", known.pixels)):
        yield (
            name,
            [
                frozenset(digest for image in sample.images for digest in digests.get(image, ()))
                for sample in part.samples
            ],
        )
    own = {sample.group for sample in part.samples} - {image for sample in part.samples for image in sample.images}
    yield "groups", [frozenset({sample.group} & own) for sample in part.samples]
