"""SLAKE (Liu et al. 2021): one set of images, asked in English and in Chinese.

Within a language no image is on two sides, but 72 of the 96 English test images are in the Chinese training split.
`source` is therefore `slake-en` or `slake-zh`, so that the audit can tell them apart.
"""

from pathlib import Path
from typing import Any

from lowmed.data.ingest import columns, tables
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import RawSample, RowLocation, image_root, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

FILES = {"train.json": "train", "validate.json": "validation", "validation.json": "validation", "test.json": "test"}
COLUMNS = columns.Columns(
    {
        "question": "question", "answer": "answer", "image": "img_name", "id": "qid", "kind": "answer_type",
        "modality": "modality", "topic": "content_type",
    },
    (),
    frozenset(),
)  # fmt: skip


def open_folder(folder: Path, wish: ImportOptions) -> RowStream:
    """`train.json`, `validate.json`, `test.json`, and `imgs/` or `imgs.zip` beside them."""
    place = next((inner for inner in (folder, folder / "Slake1.0") if (inner / "test.json").is_file()), None)
    if place is None:
        raise DataError("no SLAKE in the folder", str(folder), "it needs train.json, validate.json and test.json")
    images = image_root(place, "imgs", "imgs.zip")

    result: list[tuple[RowLocation, tuple[RowLocation, str, Any]]] = [
        (where, (where, split, row))
        for name, split in FILES.items()
        if (place / name).is_file()
        for where, row in tables.read_table(place / name)
        if isinstance(row, str) or wish.language in ("both", row.get("q_lang"))
    ]

    def read(entry: tuple[RowLocation, str, Any]) -> RawSample:
        where, split, row = entry
        if isinstance(row, str):
            raise ValueError(row)
        return columns.to_raw_sample(row, COLUMNS, images, where, f"slake-{row.get('q_lang')}", split)

    return RowStream(
        read_rows(result, read), f"columns  {COLUMNS.describe()}\nlanguage {wish.language} (--language)", len(result)
    )


SLAKE = Source(
    name="slake",
    about="bilingual questions about CT, MRI and X-ray with a knowledge graph",
    size="14,028 questions (7,033 English) on 642 images",
    kinds="closed, open",
    licence="CC BY 4.0",
    citation="Liu et al., ISBI 2021, arXiv 2102.09542",
    url="https://www.med-vqa.com/slake",
    get="train.json, validate.json, test.json and imgs/ (or imgs.zip)",
    open=open_folder,
    hub_id="BoKelvin/SLAKE",
    hub_files=("train.json", "validation.json", "test.json", "imgs.zip"),
)
