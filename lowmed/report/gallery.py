"""Cases of an evaluation: correct, incorrect, unread, and those that training changed."""

import base64
import io
import json
import re
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
CASES_PER_LABEL = 12
IMAGE_PIXELS = 512  # longest side
FILTERS = ("split", "kind", "modality", "topic")
_ANSWER_TAG = re.compile(r"</?answer>")


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
        result.append(_case(row, base_row, system, labels, open_image))
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


def _case(
    row: Row, base_row: Row | None, system: str, labels: list[str], open_image: OpenImage | None
) -> dict[str, Any]:
    sides = [_side("base", base_row)] if base_row else []
    strata = {name: [str(row.get(name) or "")] for name in FILTERS}
    return {
        **row,
        "labels": labels,
        "facts": json.dumps({"label": labels, **strata}),
        "sides": [*sides, _side(system, row)],
        "images": _images(row, open_image) if open_image else [],
    }


def _side(system: str, row: Row) -> dict[str, Any]:
    """What one system answered: reasoning and answer without their tags, and the grade."""
    reasoning, answer = split_completion(row["completion"])
    return {**row, "system": system, "reasoning": reasoning, "written": answer}


def split_completion(completion: str) -> tuple[str, str]:
    """Reasoning and answer of a completion, without the tags around them. A block that was not closed is reasoning.

    Args:
        completion: the raw text, with or without `<think>` and `<answer>`.
    """
    before, closed, after = completion.rpartition("</think>")
    reasoning, answer = (before, after) if closed else ("", completion)
    if not closed and completion.lstrip().startswith("<think>"):
        reasoning, answer = completion, ""
    return reasoning.replace("<think>", "", 1).strip(), _ANSWER_TAG.sub("", answer).strip()


def _images(row: Row, open_image: OpenImage) -> list[str]:
    """The images of a case; the first one of a question about boxes with gold and predicted boxes."""
    images = [open_image(reference).convert("RGB") for reference in row["images"]]
    if row["kind"] == "boxes" and images and row.get("image_size"):
        gold, predicted = (parse_boxes(str(text))[0] or () for text in (row["answer"], row["parsed"]))
        images[0] = draw_boxes(images[0], tuple(row["image_size"]), gold, predicted)
    return list(map(data_url, images))


def data_url(image: Image.Image) -> str:
    """An image as a data URL, at most `IMAGE_PIXELS` long: PNG, or JPEG where that is much smaller."""
    image.thumbnail((IMAGE_PIXELS, IMAGE_PIXELS))
    files = {}
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 88})):
        buffer = io.BytesIO()
        image.save(buffer, format=kind, **options)
        files[kind] = buffer.getvalue()
    kind = "jpeg" if 2 * len(files["jpeg"]) < len(files["png"]) else "png"
    return f"data:image/{kind};base64,{base64.b64encode(files[kind]).decode()}"


def _key(row: Row) -> tuple[str, str]:
    return str(row["split"]), str(row["id"])
