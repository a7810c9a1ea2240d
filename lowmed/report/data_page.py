"""The pages of `lowmed data`."""

import base64
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from lowmed.boxes import parse_boxes
from lowmed.data.audit.record import AuditRecord
from lowmed.data.image.draw_boxes import draw_boxes
from lowmed.data.image.files import open_in
from lowmed.errors import DataError
from lowmed.report.data_sheet import NO_COMPLETION
from lowmed.report.templates import render
from lowmed.sample import KINDS, LETTERS

THUMBNAIL_PX = 180
SHOWN_PX = 512
SHOWN_PAIRS = 24
SHOWN_IMAGES = 12


def audit_page(record: AuditRecord, folder: Path, others: Mapping[str, Path] | None = None) -> str:
    """The page of an audit, with thumbnails of the images in the data set's folder.

    Args:
        record: the audit.
        folder: the data set.
        others: the data sets that it was compared with, by their labels in the record.
    """
    folders = {label: path if path.is_dir() else path.parent for label, path in (others or {}).items()}
    near = [
        {
            "bits": pair.bits,
            "a": pair.a,
            "b": f"{pair.b_data} {pair.b}".strip(),
            "left": thumbnail(folder, pair.a),
            "right": thumbnail(folders.get(pair.b_data, folder), pair.b),
        }
        for pair in record.near.shown[:SHOWN_PAIRS]
    ]
    with_text = [
        {"image": scan.image, "thumbnail": thumbnail(folder, scan.image, scan.boxes)}
        for scan in record.privacy.text_shown[:SHOWN_IMAGES]
    ]
    masked = [
        {"image": each.image, "thumbnail": thumbnail(folder, each.image, each.remaining, each.covered)}
        for each in (record.masked.shown if record.masked else ())
    ]
    largest_bin = max((token_bin.images for token_bin in record.images.token_histogram), default=0) or 1
    kinds = [kind for kind in ("all", *KINDS) if any(kind in rules["prior"] for rules in record.baselines.values())]
    return render(
        "data_audit.html",
        audit=record,
        near=near,
        with_text=with_text,
        masked=masked,
        most=largest_bin,
        baseline_kinds=kinds,
    )


def show_page(title: str, rows: Iterable[dict[str, Any]], folder: Path) -> str:
    """The page of some samples, with the complete input of the model."""
    samples = [{**row, "thumbnails": _with_gold_boxes(folder, row)} for row in rows]
    return render("data_show.html", title=title, samples=samples, letters=LETTERS, no_completion=NO_COMPLETION)


def _with_gold_boxes(folder: Path, row: Mapping[str, Any]) -> list[str]:
    """The thumbnails of a sample; the first one of a question about boxes shows them."""
    first, *others = row["images"] or [""]
    boxes = parse_boxes(row["answer"])[0] if row["kind"] == "boxes" else None
    if not boxes:
        return [_shown(folder, image) for image in row["images"]]
    try:
        drawn = _as_url(draw_boxes(open_in(folder, first), row["image_size"], boxes), SHOWN_PX)
    except DataError:
        drawn = ""
    return [drawn, *(_shown(folder, image) for image in others)]


def _shown(folder: Path, reference: str) -> str:
    try:
        return _as_url(open_in(folder, reference).convert("RGB"), SHOWN_PX)
    except DataError:
        return ""  # the page shows a text in its place


def thumbnail(
    folder: Path, reference: str, boxes: Iterable[Iterable[int]] = (), green: Iterable[Iterable[int]] = ()
) -> str:
    """A small JPEG of an image as a data URL, with red and green boxes drawn on it; "" if it does not open."""
    try:
        image = open_in(folder, reference).convert("RGB")
    except DataError:
        return ""  # the page shows a text in its place
    drawing = ImageDraw.Draw(image)
    for colour, rectangles in (((60, 200, 60), green), ((255, 60, 60), boxes)):
        for box in rectangles:
            drawing.rectangle(tuple(box), outline=colour)
    return _as_url(image)


def _as_url(image: Image.Image, longest: int = THUMBNAIL_PX) -> str:
    image.thumbnail((longest, longest))
    file = BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
