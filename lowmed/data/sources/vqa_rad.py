"""VQA-RAD (Lau et al. 2018): questions of clinicians about radiographs, CT and MRI, CC0.

The official test set is the 451 rows whose `phrase_type` begins with `test_`. By the file's own label, 272 of them are
closed, which `Sample.kind` follows; 251 have the answer yes or no (`dataset.is_yes_no`). The copy on the hub has no
label, so there `closed` means the 251. 202 of the 203 test images also occur in the training split.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lowmed.data.dataset import is_yes_no
from lowmed.data.image.files import unused_images
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import ImageRoot, RawSample, RowLocation, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

FILE = "vqa_rad_public.json"
COLUMNS = frozenset({"qid", "phrase_type", "image_name", "question", "question_type", "answer", "answer_type"})
SPLITS = {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"}
MISSPELT_TOPICS = {"ATRIB": "ATTRIB", "PRSE": "PRES"}
_FIX = f"use a folder that contains the published {FILE} and images/"


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the published JSON file with `images/` next to it.

    Raises:
        DataError: the folder does not contain exactly one such file, or no `images/`.
    """
    del options
    file, rows = find_rows(folder)
    images = folder / "images"
    if not images.is_dir():
        raise DataError("the folder contains no `images/`", str(folder), _FIX)
    names = [row["image_name"] for row in rows if isinstance(row.get("image_name"), str) and row["image_name"].strip()]
    placed = ((RowLocation(file.name, number), row) for number, row in enumerate(rows, start=1))
    return RowStream(
        read_rows(placed, partial(read, ImageRoot(images))),
        "columns  those of the published file",
        len(rows),
        unused_images(images, names),
    )


def find_rows(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The one file in the folder with the columns of VQA-RAD, and its rows; the published file name takes precedence.

    Raises:
        DataError: no file has these columns, or several have.
    """
    if folder.is_file():
        raise DataError(f"this is a file, not a folder; looked for {FILE}", str(folder), _FIX)
    files = [folder / FILE] if (folder / FILE).is_file() else sorted(folder.glob("*.json"))
    matching = [(file, rows) for file in files if (rows := _rows(file))]
    if len(matching) != 1:
        names = ", ".join(file.name for file, _ in matching)
        what = f"{names} all have the columns of VQA-RAD" if matching else f"no VQA-RAD file here; looked for {FILE}"
        raise DataError(what, str(folder), _FIX)
    return matching[0]


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"this file is not JSON ({error})", str(file), "copy it again; it may be truncated") from error
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        return []
    return content if content and content[0].keys() >= COLUMNS else []


def read(images: ImageRoot, row: Mapping[str, Any]) -> RawSample:
    """Convert a row of the published file.

    Raises:
        ValueError: the row has no id, no image or no known split.
    """
    phrase_type, image, answer = _text(row, "phrase_type"), _text(row, "image_name"), _text(row, "answer")
    if phrase_type not in SPLITS:
        raise ValueError(f"phrase_type {phrase_type!r} belongs to no official split")
    if not image:
        raise ValueError("no image")
    if not _text(row, "qid"):
        raise ValueError("no id")
    closed = _text(row, "answer_type").upper() == "CLOSED" or is_yes_no(answer)
    return RawSample(
        question=_text(row, "question"),
        answer=answer,
        kind="closed" if closed else "open",
        images=(images.image(image, "row"),),
        split=SPLITS[phrase_type],
        id=_text(row, "qid"),
        topic=_topic(_text(row, "question_type")),
        source="vqa-rad",
    )


def _text(row: Mapping[str, Any], column: str) -> str:
    """A cell as text without stray white space; some answers and qids are integers."""
    value = row.get(column)
    return " ".join(str(value).split()) if isinstance(value, str | int | float) else ""


def _topic(question_type: str) -> str:
    """The question types in one order and spelling: the file has `POS, PRES`, `PRES, POS` and `PRSE`."""
    types = (name.strip().upper() for name in question_type.split(","))
    return ", ".join(sorted({MISSPELT_TOPICS.get(name, name) for name in types if name}))


VQA_RAD = Source(
    name="vqa-rad",
    about="questions of clinicians about radiographs, CT and MRI",
    size="2,248 questions on 314 images",
    kinds="closed, open",
    license="CC0 1.0",
    citation="Lau et al., Scientific Data 5:180251, 2018",
    url="https://osf.io/89kps",
    files=f"{FILE} and images/",
    open=open_folder,
    hub_id="flaviagiammarino/vqa-rad",
)
