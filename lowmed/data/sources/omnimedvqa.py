"""OmniMedVQA (Hu et al. 2024): multiple choice over the classes of 42 open data sets, one JSON file each.

Published as a test set without splits; whoever trains on it must split it (`lowmed data audit DIR --resplit image`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lowmed.data import columns, tables
from lowmed.data.draft import Draft, Where, each, shelf
from lowmed.data.own import Opened, Wish
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


def open_folder(folder: Path, wish: Wish) -> Opened:
    """`QA_information/Open-access/*.json` with `Images/` (or the zip) beside `QA_information`."""
    del wish
    place = next((inner for inner in (folder, folder / "OmniMedVQA") if (inner / "QA_information").is_dir()), None)
    if place is None:
        raise DataError("no OmniMedVQA in the folder", str(folder), f"it needs {OMNIMEDVQA.get}")
    files = sorted((place / "QA_information" / "Open-access").glob("*.json"))
    images = shelf(place, "OmniMedVQA.zip") if not (place / "Images").is_dir() else shelf(place)

    def rows() -> Iterator[tuple[Where, tuple[Where, Any]]]:
        for file in files:
            for where, row in tables.read(file):
                yield where, (where, row)

    def read(entry: tuple[Where, Any]) -> Draft:
        where, row = entry
        if isinstance(row, str):
            raise ValueError(row)
        named = {"modality_type": row.get("modality"), **row}  # one published row calls it `modality`
        return columns.draft(named, COLUMNS, images, where, "omnimedvqa", "test")

    return Opened(
        each(rows(), read), f"files    {len(files)} of QA_information/Open-access", sum(map(tables.count, files))
    )


OMNIMEDVQA = Source(
    name="omnimedvqa",
    about="multiple choice over the classes of 42 open data sets, 12 modalities",
    size="88,996 questions on 82,059 images (open part)",
    kinds="choice",
    licence="not stated as one; each of the 42 data sets keeps its own",
    citation="Hu et al., CVPR 2024, arXiv 2402.09181",
    url="https://github.com/OpenGVLab/Multi-Modality-Arena",
    get="QA_information/Open-access/*.json and Images/",
    open=open_folder,
    terms="the licences of the 42 data sets",
    hub_id="foreverbeliever/OmniMedVQA",
    hub_files=("OmniMedVQA.zip",),
)
