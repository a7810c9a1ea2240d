"""Phantom, the generated data set: any number of samples of each split, with images drawn on demand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

from lowmed.data.dataset import DataSet
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import Entry, ImageBytes, RawSample, RowLocation
from lowmed.data.sources.source import QUESTION_TOKENS, Source
from lowmed.errors import RecipeError
from lowmed.nano import phantom, phantom_report
from lowmed.sample import Sample

Split = Literal["train", "test", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)
SIZES: Mapping[str, int] = {"train": 960, "test": 600, "unseen": 200}
SEED = 0
# source -> its samples. All have the same images; another source asks another question about each.
TASKS: Mapping[str, Callable[[Split, int, int], Sequence[Sample]]] = {
    "phantom": phantom.samples,
    "phantom-report": phantom_report.samples,
    "phantom-boxes": phantom.box_samples,
    "phantom-forms": phantom.form_samples,
}


def load(sizes: Mapping[str, int] = SIZES, seed: int = SEED, name: str = "phantom") -> DataSet:
    """Generate phantom in memory.

    Args:
        sizes: samples of each split; `unseen` has the modality that the other splits leave out.
        seed: seed of the generator.
        name: a key of TASKS.

    Raises:
        RecipeError: a split is unknown, or no sample is requested.
    """
    unknown = sorted(sizes.keys() - set(SPLITS))
    if unknown or min(sizes.values(), default=0) < 0 or not any(sizes.values()):
        raise RecipeError(
            f"phantom cannot be generated with these sizes: {dict(sizes)}",
            "sizes",
            f"give counts above 0 for {', '.join(SPLITS)}",
        )
    splits: dict[str, tuple[Sample, ...]] = {
        split: tuple(TASKS[name](split, sizes[split], seed)) for split in SPLITS if sizes.get(split)
    }
    return DataSet(name, splits, (), phantom.open_image)


def open_generated(name: str, path: Path, options: ImportOptions) -> RowStream:
    """The samples that `--nano` trains on, with their images as PNG files, to try `lowmed data` without a download."""
    del path, options  # phantom has neither a file nor a choice
    data = load(name=name)

    def entries() -> Iterator[Entry]:
        for split, samples in data.splits.items():
            for number, sample in enumerate(samples, start=1):
                yield RowLocation(f"{name}/{split}", number), _raw_sample(data, sample, split)

    sizes = ", ".join(f"{split} {count}" for split, count in SIZES.items())
    return RowStream(entries(), f"{name}  {sizes}, seed {SEED}", sum(SIZES.values()))


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
    )


def _source(name: str, about: str, kinds: str, question_tokens: int = QUESTION_TOKENS) -> Source:
    return Source(
        name=name,
        about=about,
        size="1,760 questions, as many images",
        kinds=kinds,
        license="Apache-2.0, part of lowmed",
        citation="lowmed",
        url="",
        files="nothing",
        open=partial(open_generated, name),
        generated=True,
        question_tokens=question_tokens,
    )


PHANTOM = _source(
    "phantom",
    "generated images that resemble CT, MRI, X-ray and ultrasound, with known answers",
    "closed, choice, open",
)
PHANTOM_BOXES = _source("phantom-boxes", "the images of phantom, with the boxes of their lesions", "boxes")
PHANTOM_FORMS = _source(
    "phantom-forms", "the images of phantom, each described by a JSON object", "json", question_tokens=120
)
PHANTOM_REPORT = _source(
    "phantom-report", "the images of phantom, each with a report of one to three sentences", "report"
)
