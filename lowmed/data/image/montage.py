"""Lay several images out as one."""

import math
from collections.abc import Sequence

from PIL import Image

MAX_TILES = 16  # more tiles would leave too few pixels for each at the budget of training
MAX_SIDE_PX = 4096  # of the sheet; every pixel policy makes it smaller than that


def spread(count: int) -> list[int]:
    """The numbers of at most 16 evenly spaced frames out of `count`, first and last included."""
    tiles = min(count, MAX_TILES)
    return [round(tile * (count - 1) / max(tiles - 1, 1)) for tile in range(tiles)]


def montage(images: Sequence[Image.Image]) -> Image.Image:
    """The images row by row from the top left, on black.

    Each is centered in a tile of the largest size. Large images are shrunk.
    """
    columns = math.ceil(math.sqrt(len(images)))
    images = [_within(image, MAX_SIDE_PX // columns) for image in images]
    mode = images[0].mode if len({image.mode for image in images}) == 1 else "RGB"
    wide, high = max(image.width for image in images), max(image.height for image in images)
    sheet = Image.new(mode, (columns * wide, math.ceil(len(images) / columns) * high))
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        left, top = column * wide + (wide - image.width) // 2, row * high + (high - image.height) // 2
        sheet.paste(image if image.mode == mode else image.convert(mode), (left, top))
    return sheet


def _within(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    return image if scale >= 1 else image.resize([max(round(length * scale), 1) for length in image.size])
