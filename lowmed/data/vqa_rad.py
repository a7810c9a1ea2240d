"""VQA-RAD (Lau et al. 2018): questions of clinicians about radiographs, CT and MRI, CC0.

The official test set is the 451 rows whose `phrase_type` begins with `test_`. By the file's own label 272 of them are
closed, which is what `Sample.kind` says; 251 have a yes or no as answer (`dataset.is_yes_no`). The copy on the hub has
no label, so that there `closed` means the 251. 202 of the 203 test images occur in training as well.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lowmed.data.dataset import DataSet, collect_samples, is_yes_no
from lowmed.data.image.files import image_problems, open_in, require_folder, unused_images
from lowmed.data.ingest import hub
from lowmed.errors import DataError
from lowmed.sample import Sample

HUB_ID = "flaviagiammarino/vqa-rad"
FILE = "vqa_rad_public.json"
COLUMNS = frozenset({"qid", "phrase_type", "image_name", "question", "question_type", "answer", "answer_type"})
SPLITS = {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"}
MISSPELT_TOPICS = {"ATRIB": "ATTRIB", "PRSE": "PRES"}
_FIX = f"set data.path to the folder with the published JSON ({FILE}) and, beside it, images/"


def load(path: str | None) -> DataSet:
    """The published JSON with `images/` beside it at `path`, or the hub's copy where no path is given.

    Raises:
        DataError: the folder or the file in it is not what it should be.
        SetupError: the hub is needed and cannot be used.
    """
    if path is None:
        return hub.load("vqa-rad", HUB_ID, f"{FILE} and images/")
    folder = require_folder(path, "vqa-rad", f"{FILE} and images/")
    rows = find_rows(folder)
    images = folder / "images"
    if not images.is_dir():
        raise DataError("the folder has no `images/` in it", str(folder), _FIX)
    named = [row["image_name"] for row in rows if isinstance(row.get("image_name"), str) and row["image_name"].strip()]
    splits, rejected = collect_samples(
        str(folder),
        ((place(number, row), row) for number, row in enumerate(rows, start=1)),
        partial(read, image_problems(images, named)),
    )
    return DataSet("vqa-rad", splits, rejected, partial(open_in, images), unused_images(images, named))


def find_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of the one file in the folder that has the shape of VQA-RAD; its published name wins."""
    files = [folder / FILE] if (folder / FILE).is_file() else sorted(folder.glob("*.json"))
    result = {file.name: rows for file in files if (rows := _rows(file))}
    if len(result) != 1:
        what = f"{', '.join(result)} all look like VQA-RAD" if result else f"no VQA-RAD file here; looked for {FILE}"
        raise DataError(what, str(folder), _FIX)
    return next(iter(result.values()))


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"this is not JSON ({error})", str(file), "copy the file again; it may be cut short") from error
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        return []
    return content if content and content[0].keys() >= COLUMNS else []


def place(number: int, row: Mapping[str, Any]) -> str:
    """Where a row stands, for a message."""
    return f"row {number}, qid {row.get('qid')}, {row.get('image_name')}"


def read(broken_images: Mapping[str, str], row: Mapping[str, Any]) -> tuple[str, Sample]:
    """The official split and the sample of a row.

    Raises:
        ValueError: it cannot be used; also where its image is one of `broken_images`, with the reason given there.
    """
    phrase_type, image = _text(row, "phrase_type"), _text(row, "image_name")
    if phrase_type not in SPLITS:
        raise ValueError(f"phrase_type {phrase_type!r} belongs to no official split")
    if not image:
        raise ValueError("no image")
    if image in broken_images:
        raise ValueError(broken_images[image])
    answer = _text(row, "answer")
    closed = _text(row, "answer_type").upper() == "CLOSED" or is_yes_no(answer)
    return SPLITS[phrase_type], Sample(
        id=_text(row, "qid"),
        question=_text(row, "question"),
        answer=answer,
        kind="closed" if closed else "open",
        group=image,
        source="vqa-rad",
        images=(image,),
        topic=_topic(_text(row, "question_type")),
    )


def _text(row: Mapping[str, Any], column: str) -> str:
    """A cell as text without stray white space; some answers and qids are integers."""
    value = row.get(column)
    return " ".join(str(value).split()) if isinstance(value, str | int | float) else ""


def _topic(question_type: str) -> str:
    """The question types in one order and spelling: the file has `POS, PRES`, `PRES, POS` and `PRSE`."""
    types = (name.strip().upper() for name in question_type.split(","))
    return ", ".join(sorted({MISSPELT_TOPICS.get(name, name) for name in types if name}))
