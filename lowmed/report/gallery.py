"""Single cases of an evaluation, to be looked at: right, wrong, unread, and what training changed."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowmed.evaluate import results_folder
from lowmed.evaluate.answerer import OpenImage
from lowmed.evaluate.controls import REAL
from lowmed.evaluate.metrics import scored

Row = Mapping[str, Any]
LABELS = ("right", "wrong", "unread", "gained", "lost")
EACH = 8  # cases of every label
PICTURE_PIXELS = 224  # longest side
_OUTCOMES = {"correct": "right", "incorrect": "wrong", "unread": "unread"}


def cases(folder: Path, open_image: OpenImage | None = None) -> list[dict[str, Any]]:
    """The first few cases of each label: completion by completion, with the base's completion beside it where that is known.

    Args:
        folder: of the evaluation.
        open_image: opens the images, which are then embedded; None leaves them out.
    """
    people = results_folder.systems(folder)
    who = "tuned" if "tuned" in people else people[0]
    before = {_key(row): row for row in _rows(folder, "base")} if who == "tuned" and "base" in people else {}
    taken: dict[str, int] = dict.fromkeys(LABELS, 0)
    result = []
    for row in _rows(folder, who):
        labels = _labels(row, before.get(_key(row)))
        if all(taken[label] >= EACH for label in labels):
            continue
        for label in labels:
            taken[label] += 1
        result.append(_case(row, before.get(_key(row)), labels, open_image))
    return result


def _rows(folder: Path, who: str) -> list[dict[str, Any]]:
    return scored(results_folder.read(results_folder.path(folder, who, REAL)))


def _labels(row: Row, before: Row | None) -> list[str]:
    labels = [_OUTCOMES[row["outcome"]]]
    if before and before["outcome"] != row["outcome"]:
        labels += ["gained"] if row["outcome"] == "correct" else ["lost"] if before["outcome"] == "correct" else []
    return labels


def _case(row: Row, before: Row | None, labels: list[str], open_image: OpenImage | None) -> dict[str, Any]:
    reasoning, _, rest = row["completion"].rpartition("</think>")
    return {
        **row,
        "labels": labels,
        "reasoning": reasoning.replace("<think>", "", 1).strip(),
        "reply": rest.strip(),
        "before": before,
        "pictures": [picture(open_image, reference) for reference in row["images"]] if open_image else [],
    }


def picture(open_image: OpenImage, reference: str) -> str:
    """An image as a small PNG inside a data address."""
    image = open_image(reference).convert("RGB")
    image.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _key(row: Row) -> tuple[str, str]:
    return str(row["split"]), str(row["id"])
