"""SLAKE (Liu et al. 2021): one set of images with questions in English and in Chinese.

Within a language no two splits share an image, but 72 of the 96 English test images are in the Chinese training split.
`source` is therefore `slake-en` or `slake-zh`, so that the audit can compare the two.
"""

from pathlib import Path
from typing import Any

from lowmed.data.ingest import columns, tables
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import RawSample, RowLocation, image_root, read_rows
from lowmed.data.ingest.read_row import RowReader
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


def slake_folder(folder: Path) -> Path:
    """The folder with SLAKE's tables: this one, or `Slake1.0` in it.

    Raises:
        DataError: there is none.
    """
    base = next((inner for inner in (folder, folder / "Slake1.0") if (inner / "test.json").is_file()), None)
    if base is None:
        raise DataError(
            "the folder does not contain SLAKE", str(folder), "it needs train.json, validate.json and test.json"
        )
    return base


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read `train.json`, `validate.json`, `test.json`, and `imgs/` or `imgs.zip` next to them."""
    base = slake_folder(folder)
    images = image_root(base, "imgs", "imgs.zip")

    rows: list[tuple[RowLocation, tuple[RowLocation, str, Any]]] = [
        (location, (location, split, row))
        for name, split in FILES.items()
        if (base / name).is_file()
        for location, row in tables.read_table(base / name)
        if isinstance(row, str) or options.language in ("both", row.get("q_lang"))
    ]

    def read(entry: tuple[RowLocation, str, Any]) -> RawSample:
        location, split, row = entry
        if isinstance(row, str):
            raise ValueError(row)
        reader = RowReader(COLUMNS, images, f"slake-{row.get('q_lang')}", split)
        return reader.read(row, location)

    return RowStream(
        read_rows(rows, read), f"columns  {COLUMNS.describe()}\nlanguage {options.language} (--language)", len(rows)
    )


SLAKE = Source(
    name="slake",
    about="bilingual questions about CT, MRI and X-ray with a knowledge graph",
    size="14,028 questions (7,033 English) on 642 images",
    kinds="closed, open",
    license="CC BY 4.0",
    citation="Liu et al., ISBI 2021, arXiv 2102.09542",
    url="https://www.med-vqa.com/slake",
    files="train.json, validate.json, test.json and imgs/ (or imgs.zip)",
    open=open_folder,
    hub_id="BoKelvin/SLAKE",
    hub_files=("train.json", "validation.json", "test.json", "imgs.zip"),
)
