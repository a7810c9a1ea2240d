"""Boxes and points in the text of a question or an answer, which must move with an image that is resized."""

import re
from collections.abc import Sequence
from typing import Literal

from lowmed.boxes import boxes_text, gold_mistake, parse_boxes

BoxUnit = Literal["pixels", "relative", "thousandths"]
Size = tuple[int, int]  # width and height in pixels
_LARGEST: dict[BoxUnit, float] = {"relative": 1.0, "thousandths": 1000.0}
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
# [x1, y1, x2, y2] and (x1, y1), (x2, y2). Four numbers in round brackets may also count something else.
_BOX = re.compile(
    rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]|\({_NUMBER},{_NUMBER}\)\s*,?\s*\({_NUMBER},{_NUMBER}\)"
)
_ROUND_BOX = re.compile(rf"\({_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\)")
_ABOUT_BOXES = re.compile(r"\b(?:bbox\w*|box(?:es)?|bounding|coordinates?|x1|region|rectangle)\b", re.IGNORECASE)
_POINT = re.compile(rf"[\[(]{_NUMBER},{_NUMBER}[\])]")
_ABOUT_POINTS = re.compile(r"\b(?:points?|coordinates?|click|keypoints?|landmarks?|bbox\w*|\(x, ?y\))\b", re.IGNORECASE)


def has_boxes(question: str, answer: str) -> bool:
    """Whether the answer holds a box, or a point that the question asks for."""
    return _marks(answer, question) is not None


def fit_boxes(
    texts: Sequence[str], question: str, unit: BoxUnit | None, sizes: Sequence[tuple[Size, Size]]
) -> list[str]:
    """The texts with their boxes in pixels of the stored images.

    Args:
        texts: texts that may hold boxes.
        question: the question, which separates points from other pairs of numbers.
        unit: of the numbers; None if the user did not name it.
        sizes: width and height of each image before and after it was resized.

    Raises:
        ValueError: the unit is not named and matters, a box is outside of the image, or it is in pixels of several
            images that were resized differently.
    """
    return [_fit(text, question, unit, sizes) for text in texts]


def gold_boxes(answer: str, unit: BoxUnit | None, size: Size) -> str:
    """The gold answer of a question of kind `boxes`, in pixels of the original image.

    Args:
        answer: boxes in any form that a completion may have.
        unit: of their numbers; None is pixels, or shares of the image if no number exceeds 1.
        size: width and height of the original image.

    Raises:
        ValueError: the answer holds no boxes, or one that is outside of the image.
    """
    boxes, _ = parse_boxes(answer)
    if boxes is None:
        raise ValueError(gold_mistake(answer, size))
    largest = max((max(box.corners) for box in boxes), default=0)
    if unit == "relative" or (unit is None and 0 < largest <= 1):
        boxes = tuple(box.scaled(*size) for box in boxes)
    elif unit == "thousandths":
        boxes = tuple(box.scaled(size[0] / 1000, size[1] / 1000) for box in boxes)
    text = boxes_text(boxes)
    if mistake := gold_mistake(text, size):
        hint = "" if unit else "; name the unit with --boxes relative or thousandths if it is not pixels"
        raise ValueError(mistake + hint)
    return text


def is_outside(answer: str, question: str, sizes: Sequence[Size]) -> bool:
    """Whether an answer holds a box that no image contains, in pixels or thousandths.

    Args:
        answer: the gold answer.
        question: its question.
        sizes: width and height of each image in pixels.
    """
    pattern = _marks(answer, question)
    if pattern is None or not sizes:
        return False
    numbers = _numbers(pattern, answer)
    side = max((*(width for width, _ in sizes), *(height for _, height in sizes), 1000))
    return min(numbers) < 0 or max(numbers) > side


def _numbers(pattern: re.Pattern[str], text: str) -> list[float]:
    return [float(number) for mark in pattern.finditer(text) for number in mark.groups() if number is not None]


def _marks(text: str, question: str) -> re.Pattern[str] | None:
    if _BOX.search(text):
        return _BOX
    if _ROUND_BOX.search(text) and _ABOUT_BOXES.search(f"{question} {text}"):
        return _ROUND_BOX
    return _POINT if _ABOUT_POINTS.search(question) and _POINT.search(text) else None


def _fit(text: str, question: str, unit: BoxUnit | None, sizes: Sequence[tuple[Size, Size]]) -> str:
    pattern = _marks(text, question)
    if pattern is None or not sizes:
        return text
    numbers = _numbers(pattern, text)
    if unit is None and max(numbers) <= 1:
        unit = "relative"
    (before, after), *_ = sizes
    is_resized = any(old != new for old, new in sizes)
    if unit is None and is_resized:
        what = f"a box, and its image of {_by(before)} pixels is stored as {_by(after)}"
        raise ValueError(f"{what}: name the unit with --boxes pixels, relative or thousandths")
    if unit in _LARGEST:
        if max(numbers) > _LARGEST[unit] or min(numbers) < 0:
            raise ValueError(f"a box has a number outside of 0 to {_LARGEST[unit]:g}, though --boxes is {unit}")
        return text
    if unit == "pixels" and len({(new[0] / old[0], new[1] / old[1]) for old, new in sizes}) > 1:
        raise ValueError("a box in pixels, and the images of the row are resized differently")
    width, height = max(old[0] for old, _ in sizes), max(old[1] for old, _ in sizes)
    if min(numbers) < 0 or max(numbers[0::2]) > width or max(numbers[1::2]) > height:
        hint = "" if unit else "; name the unit with --boxes relative or thousandths if it is not pixels"
        raise ValueError(f"a box is outside of the image of {_by(before)} pixels{hint}")
    if not is_resized:
        return text
    across, down = after[0] / before[0], after[1] / before[1]
    return pattern.sub(lambda mark: _scaled(mark, across, down), text)


def _scaled(mark: re.Match[str], across: float, down: float) -> str:
    """The same text with its numbers, x and y in turn, multiplied."""
    text, shift, is_x = mark[0], mark.start(), True
    result, at = "", 0
    for number, digits in enumerate(mark.groups(), start=1):
        if digits is None:
            continue
        start, end = mark.start(number) - shift, mark.end(number) - shift
        value = float(digits) * (across if is_x else down)
        result += text[at:start] + (f"{value:.1f}" if "." in digits else str(round(value)))
        at, is_x = end, not is_x
    return result + text[at:]


def _by(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
