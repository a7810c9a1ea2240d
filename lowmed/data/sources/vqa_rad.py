"""VQA-RAD as it was published (Lau et al. 2018), or as the hub has it."""

from pathlib import Path
from typing import Any

from lowmed.data import vqa_rad
from lowmed.data.draft import Draft, Shelf, Where, each
from lowmed.data.own import Opened, Wish
from lowmed.data.sources.source import Source


def open_folder(folder: Path, wish: Wish) -> Opened:
    """The published JSON with `images/` beside it."""
    del wish
    rows, images = vqa_rad.find_rows(folder), Shelf(folder / "images")

    def read(row: dict[str, Any]) -> Draft:
        split, sample = vqa_rad.read({}, row)
        (name,) = sample.images
        return Draft(
            sample.question, sample.answer, sample.kind, (images.picture(name, "row"),), split, sample.id,
            topic=sample.topic, source=sample.source,
        )  # fmt: skip

    placed = ((Where(vqa_rad.FILE, number), row) for number, row in enumerate(rows, start=1))
    return Opened(each(placed, read), "columns  those of the published file", len(rows))


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
