"""Boxes in an image: how answers write them, their overlap, and the matching of predicted to gold boxes.

Gold boxes are in pixels of the original image. A model writes the coordinates that its family was trained on: a
`grid` with a number of units across and down. Scaling both axes does not change an overlap.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Size = tuple[int, int]  # width and height
Corners = tuple[float, float, float, float]

THOUSANDTHS: Size = (1000, 1000)  # the grid of most families
MAX_BOXES = 100  # of one answer; more are not an answer but a cover of the image
HIT = 0.5  # a box is right if its overlap exceeds this, as in PASCAL VOC

_BOX_KEYS = ("bbox_2d", "bbox", "box", "box_2d")
_LABEL_KEYS = ("label", "name", "class")
_FENCE = re.compile(r"```\w*\s*(.*?)\s*```", re.DOTALL)
_MARKS = re.compile(r"<\|(?:object_ref|box)_(?:start|end)\|>")
_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_CORNERS = re.compile(rf"\({_NUMBER},{_NUMBER}\)\s*(?:,\s*)?\({_NUMBER},{_NUMBER}\)")
_MAX_LABEL_WORDS = 6
_NONE = re.compile(r"(?:none|no (?:box|boxes|lesion|lesions|finding|findings)|nothing)\W*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Box:
    """A box by its left, top, right and bottom edge, and what it shows; the label may be empty."""

    corners: Corners
    label: str = ""

    @property
    def area(self) -> float:
        """Width x height."""
        left, top, right, bottom = self.corners
        return (right - left) * (bottom - top)

    def scaled(self, across: float, down: float) -> "Box":
        """The box with its x values multiplied by `across` and its y values by `down`."""
        left, top, right, bottom = self.corners
        return Box((left * across, top * down, right * across, bottom * down), self.label)

    def mirrored(self, width: float) -> "Box":
        """The box in the mirrored image, with the same label."""
        left, top, right, bottom = self.corners
        return Box((width - right, top, width - left, bottom), self.label)


def parse_boxes(text: str) -> tuple[tuple[Box, ...] | None, str]:
    """The boxes of an answer; None and a word for the reason if it holds none.

    Read are a JSON list of objects with `bbox_2d` and `label`, one such object, a list of four numbers or several of
    them, and Qwen2-VL's `label(x1,y1),(x2,y2)`. `[]` and "none" are no boxes. A box whose corners are exchanged or
    that has no area makes the answer unreadable, and so do other words around the boxes.
    """
    body = text.strip()
    fenced = _FENCE.fullmatch(body)
    body = fenced[1] if fenced else body
    if _NONE.fullmatch(body):
        return (), ""
    if not body.startswith(("[", "{")):
        return _parse_marked(body)
    try:
        value = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None, "no_boxes"
    items = [value] if isinstance(value, dict) or _is_corners(value) else value
    if not isinstance(items, list):
        return None, "no_boxes"
    return _checked([_box(item) for item in items])


def boxes_text(boxes: Sequence[Box]) -> str:
    """The boxes as the JSON list that answers contain; numbers with at most two decimals."""
    return json.dumps(
        [
            {"bbox_2d": [_short(number) for number in box.corners]} | ({"label": box.label} if box.label else {})
            for box in boxes
        ],
        ensure_ascii=False,
    )


def on_grid(boxes: Sequence[Box], size: Size, grid: Size) -> tuple[Box, ...]:
    """Boxes in pixels of an image of this size as integer units of a grid, at least one unit wide and high."""
    scaled = (box.scaled(grid[0] / size[0], grid[1] / size[1]) for box in boxes)
    return tuple(Box(_rounded(box.corners, grid), box.label) for box in scaled)


def gold_mistake(text: str, size: Size) -> str:
    """What is wrong with a gold answer for an image of this size in pixels; "" if nothing is."""
    if min(size) < 1:
        return "the size of the image with the boxes is unknown"
    boxes, problem = parse_boxes(text)
    if boxes is None:
        return _WORDS.get(problem, problem)
    for box in boxes:
        left, top, right, bottom = box.corners
        if min(left, top) < 0 or right > size[0] or bottom > size[1]:
            return f"a box {boxes_text([box])} is outside of the image of {size[0]} x {size[1]} pixels"
    if any(not box.label for box in boxes) and any(box.label for box in boxes):
        return "some boxes have a label and others have none"
    return ""


def iou(first: Box, second: Box) -> float:
    """Intersection over union."""
    across = min(first.corners[2], second.corners[2]) - max(first.corners[0], second.corners[0])
    down = min(first.corners[3], second.corners[3]) - max(first.corners[1], second.corners[1])
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (first.area + second.area - shared)


def overlaps(gold: Sequence[Box], predicted: Sequence[Box]) -> list[list[float]]:
    """IoU of each gold box (rows) with each predicted box; 0 for another label, if the gold boxes have several."""
    several = len({_plain(box.label) for box in gold}) > 1
    return [
        [0.0 if several and _plain(one.label) != _plain(other.label) else iou(one, other) for other in predicted]
        for one in gold
    ]


def matched(
    gold: Sequence[Box], predicted: Sequence[Box], credit: Callable[[int, float], float] = lambda _, overlap: overlap
) -> list[float]:
    """The credit of each gold box in the one-to-one matching with the highest sum; 0 for a box without a partner.

    Args:
        gold: the gold boxes.
        predicted: the predicted boxes.
        credit: the credit of a pair, from the index of its gold box and its IoU; the IoU itself by default.
    """
    pairs = [[credit(row, overlap) for overlap in line] for row, line in enumerate(overlaps(gold, predicted))]
    best = [0.0] * len(gold)
    if not gold or not predicted:
        return best
    if len(gold) == 1:  # the usual case needs no solver
        return [max(pairs[0])]
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(pairs, maximize=True)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        best[row] = pairs[row][column]
    return best


def all_right(gold: Sequence[Box], predicted: Sequence[Box]) -> bool:
    """Whether there are as many boxes as gold boxes, and each overlaps its own by more than one half."""
    if len(gold) != len(predicted):
        return False
    return all(hit > 0 for hit in matched(gold, predicted, lambda _, overlap: float(overlap > HIT)))


_WORDS = {
    "no_boxes": 'the answer is not a list of boxes: write [{"bbox_2d": [left, top, right, bottom], "label": ...}]',
    "bad_box": "a box has no area, or its corners are exchanged: it is [left, top, right, bottom]",
    "too_many_boxes": f"the answer has more than {MAX_BOXES} boxes",
}


def _parse_marked(body: str) -> tuple[tuple[Box, ...] | None, str]:
    text = _MARKS.sub("", body).strip()
    boxes, end, label = [], 0, ""
    for match in _CORNERS.finditer(text):
        between = text[end : match.start()].lstrip(" ,;\n\t")
        # The label touches the bracket, so that a sentence such as "it is not in (1,2),(3,4)" is not a box.
        if re.search(r"[\d()\[\]{}.]|\s$", between) or len(between.split()) > _MAX_LABEL_WORDS:
            return None, "no_boxes"
        label = between or label
        boxes.append(Box((float(match[1]), float(match[2]), float(match[3]), float(match[4])), label))
        end = match.end()
    if not boxes or text[end:].strip(" ,;.\n\t"):
        return None, "no_boxes"
    return _checked(boxes)


def _checked(boxes: Sequence[Box | None]) -> tuple[tuple[Box, ...] | None, str]:
    if len(boxes) > MAX_BOXES:
        return None, "too_many_boxes"
    if any(box is None for box in boxes):
        return None, "no_boxes"
    known = tuple(box for box in boxes if box)
    if any(box.corners[0] >= box.corners[2] or box.corners[1] >= box.corners[3] for box in known):
        return None, "bad_box"
    return known, ""


def _box(item: Any) -> Box | None:
    if _is_corners(item):
        return Box(_corners(item))
    if not isinstance(item, dict):
        return None
    names = [name for name in _BOX_KEYS if name in item]
    if len(names) != 1 or not _is_corners(item[names[0]]):
        return None
    label = next((item[name] for name in _LABEL_KEYS if name in item), "")
    return Box(_corners(item[names[0]]), " ".join(label.split())) if isinstance(label, str) else None


def _is_corners(value: Any) -> bool:
    """Whether a value is four finite numbers; a truth value is none."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
        and all(abs(number) < 1e9 and math.isfinite(number) for number in value)
    )


def _corners(value: list[float]) -> Corners:
    return float(value[0]), float(value[1]), float(value[2]), float(value[3])


def _refuse(name: str) -> object:
    raise ValueError(name)


def _rounded(corners: Corners, grid: Size) -> Corners:
    left, right = _rounded_range(corners[0], corners[2], grid[0])
    top, bottom = _rounded_range(corners[1], corners[3], grid[1])
    return left, top, right, bottom


def _rounded_range(low: float, high: float, end: int) -> tuple[float, float]:
    """The rounded ends of a range, at least one apart and within 0 and `end`."""
    start, stop = round(low), round(high)
    if stop <= start:
        start = min(math.floor(low), end - 1)
        stop = start + 1
    return float(max(0, start)), float(min(end, stop))


def _short(number: float) -> float | int:
    rounded = round(number, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _plain(label: str) -> str:
    return " ".join(label.casefold().split())
