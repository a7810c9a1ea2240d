"""Several frames of a file as one image, side by side in rows."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from lowmed.data.image.policy import one_channel

MONTAGE_FRAMES = 16
SPACED_FRAMES = 4  # images of one question, each with its own budget of tokens
MONTAGE_PIXELS = 2**22  # of the whole image; a model sees far fewer


def spaced_numbers(count: int, most: int) -> list[int]:
    """The numbers of all frames, or of `most` frames at equal distances, each in the middle of its part."""
    if count <= most:
        return list(range(count))
    return [(2 * place + 1) * count // (2 * most) for place in range(most)]


def montage(frames: Sequence[Image.Image]) -> Image.Image:
    """The frames as one image of nearly equal numbers of rows and columns, on black, in 8 bits.

    Args:
        frames: at least one image; smaller ones are centred in the cell of the largest. Grey frames of more than 8
            bits get one scale, from the darkest to the brightest value of all of them.

    Raises:
        ValueError: some pixels are not finite numbers.
    """
    if len(frames) == 1:
        return frames[0]
    deep = all(frame.mode in ("I", "F") or frame.mode.startswith("I;") for frame in frames)
    shown = _on_one_scale(frames) if deep else [one_channel(frame) for frame in frames]
    wide, high = (max(frame.size[side] for frame in shown) for side in (0, 1))
    columns = _columns(len(shown), wide, high)
    rows = math.ceil(len(shown) / columns)
    shrink = min(1.0, math.sqrt(MONTAGE_PIXELS / (columns * wide * rows * high)))
    cell = max(1, math.floor(wide * shrink)), max(1, math.floor(high * shrink))
    mode = "L" if all(frame.mode == "L" for frame in shown) else "RGB"
    sheet = Image.new(mode, (columns * cell[0], rows * cell[1]))
    for number, frame in enumerate(shown):
        size = max(1, math.floor(frame.width * shrink)), max(1, math.floor(frame.height * shrink))
        small = frame if size == frame.size else frame.resize(size, Image.Resampling.BICUBIC)
        left, top = (number % columns) * cell[0], (number // columns) * cell[1]
        sheet.paste(small.convert(mode), (left + (cell[0] - size[0]) // 2, top + (cell[1] - size[1]) // 2))
    return sheet


def _on_one_scale(frames: Sequence[Image.Image]) -> list[Image.Image]:
    values = [np.asarray(frame, np.float64) for frame in frames]
    low, high = min(each.min() for each in values), max(each.max() for each in values)
    if not np.isfinite(high - low):
        raise ValueError("some pixels are not finite numbers")
    scale = 255 / (high - low) if high > low else 0.0
    return [Image.fromarray(((each - low) * scale).round().astype(np.uint8)) for each in values]


def _columns(count: int, wide: int, high: int) -> int:
    """The number of columns that makes the sheet most nearly square, with the fewest empty cells if equal."""

    def cost(columns: int) -> tuple[float, int]:
        rows = math.ceil(count / columns)
        return round(abs(math.log(columns * wide / (rows * high))), 6), rows * columns - count

    return min(range(1, count + 1), key=cost)
