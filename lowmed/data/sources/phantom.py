"""Phantom, the generated data set, as files: to try `prepare`, `audit` and `show` without a download."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from lowmed.data import phantom_source
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import Entry, ImageBytes, RawSample, RowLocation
from lowmed.data.sources.source import Source
from lowmed.sample import Sample

SIZES = {"train": 960, "test": 600, "unseen": 200}
SEED = 0


def generate(path: Path, wish: ImportOptions) -> RowStream:
    """The samples that training with `--nano` uses, with their images."""
    del path, wish  # there is nothing to read and nothing to choose
    data = phantom_source.load(SIZES, SEED)

    def entries() -> Iterator[Entry]:
        for split, samples in data.splits.items():
            for number, sample in enumerate(samples, start=1):
                yield RowLocation(f"phantom/{split}", number), _draft(sample, split)

    def _draft(sample: Sample, split: str) -> RawSample:
        images = []
        for reference in sample.images:
            written = BytesIO()
            data.open_image(reference).save(written, "PNG", compress_level=1)
            images.append(ImageBytes(reference, written.getvalue()))
        return RawSample(
            sample.question, sample.answer, sample.kind, tuple(images), split, sample.id, "",
            sample.options, sample.explanation, sample.modality, sample.topic, sample.source,
        )  # fmt: skip

    told = ", ".join(f"{split} {count}" for split, count in SIZES.items())
    return RowStream(entries(), f"phantom  {told}, seed {SEED}", sum(SIZES.values()))


PHANTOM = Source(
    name="phantom",
    about="generated CT-, MRI-, X-ray- and ultrasound-like pictures whose truth is known",
    size="1,760 questions, as many images",
    kinds="closed, choice, open",
    licence="Apache-2.0, made by lowmed itself",
    citation="lowmed",
    url="",
    get="nothing",
    open=generate,
    generated=True,
)
