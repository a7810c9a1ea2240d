"""OmniMedVQA (Hu et al. 2024): multiple choice over the classes of 42 open data sets, one JSON file each.

It is published as one test split. To train on it, split it first (`lowmed data audit DIR --resplit image`).
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

COLUMNS = columns.Columns(
    {
        "question": "question", "answer": "gt_answer", "image": "image_path", "id": "question_id",
        "modality": "modality_type", "topic": "question_type",
    },
    ("option_A", "option_B", "option_C", "option_D"),
    frozenset(),
)  # fmt: skip


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read `QA_information/Open-access/*.json`, with `Images/` (or the zip) next to `QA_information`."""
    del options
    base = next((inner for inner in (folder, folder / "OmniMedVQA") if (inner / "QA_information").is_dir()), None)
    if base is None:
        raise DataError("the folder does not contain OmniMedVQA", str(folder), f"it needs {OMNIMEDVQA.files}")
    files = sorted((base / "QA_information" / "Open-access").glob("*.json"))
    images = image_root(base, "OmniMedVQA.zip") if not (base / "Images").is_dir() else image_root(base)

    def rows() -> Iterator[tuple[RowLocation, tuple[RowLocation, Any]]]:
        for file in files:
            for location, row in tables.read_table(file):
                yield location, (location, row)

    def read(entry: tuple[RowLocation, Any]) -> RawSample:
        location, row = entry
        if isinstance(row, str):
            raise ValueError(row)
        renamed = {"modality_type": row.get("modality"), **row}  # one published row calls the column `modality`
        return RowReader(COLUMNS, images, "omnimedvqa", "test").read(renamed, location)

    return RowStream(
        read_rows(rows(), read),
        f"files    {len(files)} of QA_information/Open-access",
        sum(map(tables.count_rows, files)),
    )


OMNIMEDVQA = Source(
    name="omnimedvqa",
    about="multiple choice over the classes of 42 open data sets, 12 modalities",
    size="88,996 questions on 82,059 images (open part)",
    kinds="choice",
    license="each of the 42 data sets has its own; none is stated for the whole",
    citation="Hu et al., CVPR 2024, arXiv 2402.09181",
    url="https://github.com/OpenGVLab/Multi-Modality-Arena",
    files="QA_information/Open-access/*.json and Images/",
    open=open_folder,
    terms="the licenses of the 42 data sets",
    hub_id="foreverbeliever/OmniMedVQA",
    hub_files=("OmniMedVQA.zip",),
)
