"""Generated data sets: any number of samples of each split, with images drawn on demand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from lowmed.data.dataset import DataSet
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import Entry, ImageBytes, RawSample, RowLocation
from lowmed.data.sources.source import QUESTION_TOKENS, Source
from lowmed.errors import RecipeError
from lowmed.nano import paint, phantom, phantom_report
from lowmed.recipe.dials import Dials
from lowmed.sample import Sample
from lowmed.testbed import paint as testbed_paint
from lowmed.testbed import samples as testbed

Split = Literal["train", "test", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)
SEED = 0


@dataclass(frozen=True, slots=True)
class Generator:
    """A generated data set.

    Attributes:
        samples: the first samples of a split, for its name, the number of samples and a seed.
        open_image: the image of a reference.
        sizes: samples of each split in a recipe.
        side_pixels: width and height of all images.
    """

    samples: Callable[[Split, int, int], Sequence[Sample]]
    open_image: Callable[[str], Image.Image]
    sizes: Mapping[str, int]
    side_pixels: int


_SIZES = {"train": 960, "test": 600, "unseen": 200}


def _phantom(samples: Callable[[Split, int, int], Sequence[Sample]]) -> Generator:
    return Generator(samples, phantom.open_image, _SIZES, paint.SIDE_PIXELS)


def _testbed(samples: Callable[[Split, int, int], Sequence[Sample]]) -> Generator:
    sizes = {"train": 1200, "test": 1000, "unseen": 500}
    return Generator(samples, testbed.open_image, sizes, testbed_paint.SIDE_PIXELS)


# The sources of phantom have the same images; another source asks another question about each.
GENERATORS: Mapping[str, Generator] = {
    "phantom": _phantom(phantom.samples),
    "phantom-report": _phantom(phantom_report.samples),
    "phantom-boxes": _phantom(phantom.box_samples),
    "phantom-forms": _phantom(phantom.form_samples),
    testbed.NAME: _testbed(testbed.samples),
    f"{testbed.NAME}-boxes": _testbed(testbed.box_samples),
}


def load(
    sizes: Mapping[str, int] | None = None, seed: int = SEED, name: str = "phantom", dials: Dials | None = None
) -> DataSet:
    """Generate a data set in memory.

    Args:
        sizes: samples of each split, by default those of a recipe; `unseen` has modalities that the others leave out.
        seed: seed of the generator.
        name: a key of GENERATORS.
        dials: how training samples of the testbed differ from test samples.

    Raises:
        RecipeError: a split is unknown, or no sample is requested.
    """
    generator = GENERATORS[name]
    sizes = generator.sizes if sizes is None else sizes
    unknown = sorted(sizes.keys() - set(SPLITS))
    if unknown or min(sizes.values(), default=0) < 0 or not any(sizes.values()):
        raise RecipeError(
            f"{name} cannot be generated with these sizes: {dict(sizes)}",
            "sizes",
            f"give counts above 0 for {', '.join(SPLITS)}",
        )
    samples = partial(testbed.samples, dials=dials) if name == testbed.NAME else generator.samples
    splits: dict[str, tuple[Sample, ...]] = {
        split: tuple(samples(split, sizes[split], seed)) for split in SPLITS if sizes.get(split)
    }
    return DataSet(name, splits, (), generator.open_image)


def open_generated(name: str, path: Path, options: ImportOptions) -> RowStream:
    """The samples that a recipe trains on, with their images as PNG files, to try `lowmed data` without a download."""
    del path, options  # generated data have neither a file nor a choice
    data = load(name=name)

    def entries() -> Iterator[Entry]:
        for split, samples in data.splits.items():
            for number, sample in enumerate(samples, start=1):
                yield RowLocation(f"{name}/{split}", number), _raw_sample(data, sample, split)

    sizes = GENERATORS[name].sizes
    listed = ", ".join(f"{split} {count}" for split, count in sizes.items())
    return RowStream(entries(), f"{name}  {listed}, seed {SEED}", sum(sizes.values()))


def _raw_sample(data: DataSet, sample: Sample, split: str) -> RawSample:
    images = []
    for reference in sample.images:
        file = BytesIO()
        data.open_image(reference).save(file, "PNG", compress_level=1)
        images.append(ImageBytes(reference, file.getvalue()))
    return RawSample(
        question=sample.question,
        answer=sample.answer,
        kind=sample.kind,
        images=tuple(images),
        split=split,
        id=sample.id,
        options=sample.options,
        explanation=sample.explanation,
        modality=sample.modality,
        topic=sample.topic,
        source=sample.source,
        unit=sample.unit,
        lower=sample.lower,
        upper=sample.upper,
        strata=sample.strata,
    )


def _source(
    name: str, about: str, kinds: str, *, question_tokens: int = QUESTION_TOKENS, images: int = 1, size: str = ""
) -> Source:
    return Source(
        name=name,
        about=about,
        size=size or "1,760 questions, as many images",
        kinds=kinds,
        license="Apache-2.0, part of lowmed",
        citation="lowmed",
        url="",
        files="nothing",
        open=partial(open_generated, name),
        generated=True,
        question_tokens=question_tokens,
        images=images,
    )


SOURCES = (
    _source(
        "phantom",
        "generated images that resemble CT, MRI, X-ray and ultrasound, with known answers",
        "closed, choice, open",
    ),
    _source("phantom-boxes", "the images of phantom, with the boxes of their lesions", "boxes"),
    _source("phantom-forms", "the images of phantom, each described by a JSON object", "json", question_tokens=120),
    _source("phantom-report", "the images of phantom, each with a report of one to three sentences", "report"),
    _source(
        testbed.NAME,
        "generated images with several findings, and questions of one to three steps, to compare methods",
        "closed, choice, open, number",
        question_tokens=60,
        images=2,
        size="2,700 questions, with one or two images each",
    ),
    _source(
        f"{testbed.NAME}-boxes",
        "the images of testbed, with the boxes of their findings",
        "boxes",
        size="2,700 questions, as many images",
    ),
)
