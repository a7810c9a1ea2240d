"""MedXpertQA MM (Zuo et al. 2025): exam questions, each with one or several images and five options.

The column is `images`; a reader of `image` would silently get none.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lowmed.data.ingest import columns, tables
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import RawSample, RowLocation, image_root, read_rows
from lowmed.data.ingest.read_row import RowReader
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

FILES = {"dev.jsonl": "validation", "test.jsonl": "test"}
COLUMNS = columns.Columns(
    {
        "question": "question", "options": "options", "letter": "label", "image": "images", "id": "id",
        "topic": "medical_task",
    },
    (),
    frozenset(),
)  # fmt: skip


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read `MM/dev.jsonl`, `MM/test.jsonl`, and `images/` or `images.zip` next to `MM`."""
    del options
    base = folder / "MM" if (folder / "MM").is_dir() else folder
    files = [base / name for name in FILES if (base / name).is_file()]
    if not files:
        raise DataError("the folder does not contain MedXpertQA MM", str(folder), f"it needs {MEDXPERTQA_MM.files}")
    images = image_root(folder, "images", "images.zip", "MM/images")

    def rows() -> Iterator[tuple[RowLocation, tuple[RowLocation, str, Any]]]:
        for file in files:
            for location, row in tables.read_table(file):
                yield location, (location, FILES[file.name], row)

    def read(entry: tuple[RowLocation, str, Any]) -> RawSample:
        location, split, row = entry
        if isinstance(row, str):
            raise ValueError(row)
        return RowReader(COLUMNS, images, "medxpertqa-mm", split).read(row, location)

    return RowStream(read_rows(rows(), read), f"columns  {COLUMNS.describe()}", sum(map(tables.count_rows, files)))


MEDXPERTQA_MM = Source(
    name="medxpertqa-mm",
    about="exam questions with one or several images and five options",
    size="2,005 questions (5 dev, 2,000 test)",
    kinds="choice",
    license="MIT",
    citation="Zuo et al., ICML 2025, arXiv 2501.18362",
    url="https://huggingface.co/datasets/TsinghuaC3I/MedXpertQA",
    files="MM/dev.jsonl, MM/test.jsonl and images.zip (or images/)",
    open=open_folder,
    hub_id="TsinghuaC3I/MedXpertQA",
    hub_files=("MM/dev.jsonl", "MM/test.jsonl", "images.zip"),
)
