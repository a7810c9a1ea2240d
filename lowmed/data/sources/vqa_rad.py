"""VQA-RAD as it was published (Lau et al. 2018), or as the hub has it."""

from pathlib import Path
from typing import Any

from lowmed.data import vqa_rad
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import ImageRoot, RawSample, RowLocation, read_rows
from lowmed.data.sources.source import Source


def open_folder(folder: Path, wish: ImportOptions) -> RowStream:
    """The published JSON with `images/` beside it."""
    del wish
    rows, images = vqa_rad.find_rows(folder), ImageRoot(folder / "images")

    def read(row: dict[str, Any]) -> RawSample:
        split, sample = vqa_rad.read({}, row)
        (name,) = sample.images
        return RawSample(
            sample.question, sample.answer, sample.kind, (images.picture(name, "row"),), split, sample.id,
            topic=sample.topic, source=sample.source,
        )  # fmt: skip

    placed = ((RowLocation(vqa_rad.FILE, number), row) for number, row in enumerate(rows, start=1))
    return RowStream(read_rows(placed, read), "columns  those of the published file", len(rows))


VQA_RAD = Source(
    name="vqa-rad",
    about="questions of clinicians about radiographs, CT and MRI",
    size="2,248 questions on 314 images",
    kinds="closed, open",
    licence="CC0 1.0",
    citation="Lau et al., Scientific Data 5:180251, 2018",
    url="https://osf.io/89kps",
    get=f"{vqa_rad.FILE} and images/",
    open=open_folder,
    hub_id=vqa_rad.HUB_ID,
)
