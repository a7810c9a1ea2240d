"""SLAKE's boxes: one question for each labelled organ or finding of an image, in `imgs/xmlabN/detection.json`.

The parts are those of SLAKE's English questions, which share no image. An image's file lists its boxes as
`[{"Liver": [x, y, width, height]}, ...]` in pixels. What it does not list may still be visible, so no question has the
answer "none".
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lowmed.boxes import Box, boxes_text
from lowmed.data.ingest import tables
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import ImageRoot, RawSample, RowLocation, image_root, read_rows
from lowmed.data.sources.slake import FILES, SLAKE, slake_folder
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

FILE = "detection.json"
QUESTION = "Where in the image is this: {label}?"


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the boxes of all images that an English question names."""
    del options  # boxes are in no language
    base = slake_folder(folder)
    images = image_root(base, "imgs", "imgs.zip")
    rows = list(_labels(base, images))
    return RowStream(read_rows(rows, _Reader(images)), f"boxes    {FILE} of each image", len(rows))


class _Reader:
    def __init__(self, images: ImageRoot) -> None:
        self.images = images

    def __call__(self, row: "_Row") -> RawSample:
        if isinstance(row, str):
            raise ValueError(row)
        split, image, modality, label, boxes = row
        return RawSample(
            question=QUESTION.format(label=label),
            answer=boxes_text([_box(values, label) for values in boxes]),
            kind="boxes",
            images=(self.images.image(image, image),),
            split=split,
            id=f"{PurePosixPath(image).parent.name}:{label}",
            modality=modality,
            topic=label,
            boxes="pixels",
            source="slake-boxes",
        )


_Row = str | tuple[str, str, str, str, list[Any]]  # part, image, modality, label and its boxes; or why it is unusable


def _labels(base: Path, images: ImageRoot) -> Iterator[tuple[RowLocation, _Row]]:
    for image, (split, modality) in _images(base).items():
        name = str(PurePosixPath(image).with_name(FILE))
        try:
            content = json.loads(images.image(name, name).read())
        except DataError:
            yield RowLocation(name), f"the image has no {FILE}"
            continue
        except ValueError:
            yield RowLocation(name), "the file is not JSON"
            continue
        for line, (label, boxes) in enumerate(_by_label(content).items(), start=1):
            yield RowLocation(name, line), (split, image, modality, label, boxes)


def _images(base: Path) -> dict[str, tuple[str, str]]:
    """Image -> part and modality, from the English questions; the last part is the most held out."""
    images: dict[str, tuple[str, str]] = {}
    for name, split in FILES.items():
        if (base / name).is_file():
            for _, row in tables.read_table(base / name):
                if not isinstance(row, str) and row.get("q_lang") == "en" and row.get("img_name"):
                    images[str(row["img_name"])] = split, str(row.get("modality") or "")
    return images


def _by_label(content: Any) -> dict[str, list[Any]]:
    """Label -> its boxes, from a list of objects or one object."""
    by_label: dict[str, list[Any]] = defaultdict(list)
    for item in content if isinstance(content, list) else [content]:
        for label, box in item.items() if isinstance(item, dict) else ():
            several = isinstance(box, list) and bool(box) and all(isinstance(one, list) for one in box)
            by_label[str(label).strip()] += box if several else [box]
    return by_label


def _box(values: Any, label: str) -> Box:
    """The box of `[x, y, width, height]`."""
    if not isinstance(values, list) or len(values) != 4 or not all(type(value) in (int, float) for value in values):
        raise ValueError(f"the box of {label} is not [x, y, width, height]")
    x, y, width, height = values
    if width <= 0 or height <= 0:
        raise ValueError(f"the box of {label} has no area")
    return Box((x, y, x + width, y + height), label)


SLAKE_BOXES = Source(
    name="slake-boxes",
    about="boxes of organs and findings in the images of SLAKE",
    size="642 images",
    kinds="boxes",
    license=SLAKE.license,
    citation=SLAKE.citation,
    url=SLAKE.url,
    files="train.json, validate.json, test.json and imgs/ (or imgs.zip) with the detection.json of each image",
    open=open_folder,
    hub_id=SLAKE.hub_id,
    hub_files=SLAKE.hub_files,
)
