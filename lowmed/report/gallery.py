"""Cases of an evaluation: correct, incorrect, unread, and those that training changed."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lowmed.boxes import parse_boxes
from lowmed.data.image.draw_boxes import draw_boxes
from lowmed.evaluation import results_folder
from lowmed.evaluation.answerer import OpenImage
from lowmed.evaluation.controls import REAL
from lowmed.evaluation.metrics import scored

Row = Mapping[str, Any]
REPORT = "report"  # has figures instead of a grade
LABELS = ("correct", "incorrect", "unread", "gained", "lost", REPORT)
CASES_PER_LABEL = 8
THUMBNAIL_PIXELS = 224  # longest side


def cases(folder: Path, open_image: OpenImage | None = None) -> list[dict[str, Any]]:
    """The first few cases of each label, with the base model's completion if it is stored.

    Args:
        folder: folder of the evaluation.
        open_image: opens the images, which are embedded; None leaves them out.
    """
    systems = results_folder.systems(folder)
    system = "tuned" if "tuned" in systems else systems[0]
    has_base = system == "tuned" and "base" in systems
    base_rows = {_key(row): row for row in _rows(folder, "base")} if has_base else {}
    taken: dict[str, int] = dict.fromkeys(LABELS, 0)
    result = []
    for row in _rows(folder, system):
        base_row = base_rows.get(_key(row))
        labels = _labels(row, base_row)
        if all(taken[label] >= CASES_PER_LABEL for label in labels):
            continue
        for label in labels:
            taken[label] += 1
        result.append(_case(row, base_row, labels, open_image))
    return result


def _rows(folder: Path, system: str) -> list[dict[str, Any]]:
    return scored(results_folder.read_rows(results_folder.completions_file(folder, system, REAL)))


def _labels(row: Row, base_row: Row | None) -> list[str]:
    if row["kind"] == "report":
        return [REPORT]
    labels = [str(row["outcome"])]
    if base_row and base_row["outcome"] != row["outcome"]:
        labels += ["gained"] if row["outcome"] == "correct" else ["lost"] if base_row["outcome"] == "correct" else []
    return labels


def _case(row: Row, base_row: Row | None, labels: list[str], open_image: OpenImage | None) -> dict[str, Any]:
    reasoning, _, rest = row["completion"].rpartition("</think>")
    return {
        **row,
        "labels": labels,
        "reasoning": reasoning.replace("<think>", "", 1).strip(),
        "answer_text": rest.strip(),
        "base": base_row,
        "images": _thumbnails(row, open_image) if open_image else [],
    }


def _thumbnails(row: Row, open_image: OpenImage) -> list[str]:
    """The images of a case; the first one of a question about boxes with gold and predicted boxes."""
    images = [open_image(reference).convert("RGB") for reference in row["images"]]
    if row["kind"] == "boxes" and images and row.get("image_size"):
        gold, predicted = (parse_boxes(str(text))[0] or () for text in (row["answer"], row["parsed"]))
        images[0] = draw_boxes(images[0], tuple(row["image_size"]), gold, predicted)
    return list(map(thumbnail, images))


def thumbnail(image: Image.Image) -> str:
    """A small PNG of an image as a data URL."""
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _key(row: Row) -> tuple[str, str]:
    return str(row["split"]), str(row["id"])
