"""Painting of phantom images: random words, four simplified anatomies, lesions and noise.

All randomness comes from 64-bit words of Philox, whose values numpy guarantees. All arithmetic is addition,
multiplication and division of single elements, which IEEE 754 defines. So the pixels are the same on every machine.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

SIDE_PIXELS = 84
CENTER = SIDE_PIXELS // 2

Grey = NDArray[np.float64]
T = TypeVar("T")

_Y, _X = np.mgrid[0:SIDE_PIXELS, 0:SIDE_PIXELS].astype(np.float64) + 0.5


class Draws:
    """The random words of one image, in order."""

    def __init__(self, stream: int, index: int) -> None:
        self._words = Philox(key=np.array([stream, index], dtype=np.uint64))

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int(self._words.random_raw()) % (high - low + 1)

    def one(self, items: tuple[T, ...]) -> T:
        """One of the items; all are equally likely."""
        return items[self.integer(0, len(items) - 1)]

    def pick(self, chances: Mapping[T, int]) -> T:
        """A key, with a probability in proportion to its value."""
        rest = self.integer(1, sum(chances.values()))
        for choice, chance in chances.items():
            rest -= chance
            if rest <= 0:
                return choice
        raise AssertionError("the chances do not add up")

    def shuffled(self, items: tuple[T, ...]) -> tuple[T, ...]:
        """The items in random order; all orders are equally likely."""
        rest = list(items)
        return tuple(rest.pop(self.integer(0, len(rest) - 1)) for _ in items)

    def grain(self, side: int) -> Grey:
        """A (side, side) field from -1 to 1: differences of two random bytes, so that values near 0 are likelier."""
        words = self._words.random_raw((side * side + 3) // 4)
        pairs = np.asarray(words).astype("<u8").view(np.uint8).reshape(-1, 2)[: side * side].astype(np.float64)
        field: Grey = (pairs[:, 0] - pairs[:, 1]).reshape(side, side) / 255.0
        return field


def _ellipse(x: float, y: float, half_width: float, half_height: float, edge: float = 6.0) -> Grey:
    """A mask from 0 to 1 with a soft edge: 1 inside. A larger `edge` is sharper."""
    across, down = (_X - x) / half_width, (_Y - y) / half_height
    mask: Grey = np.clip((1.0 - across * across - down * down) * edge, 0.0, 1.0)
    return mask


def _over(grey: Grey, mask: Grey, level: float) -> None:
    grey += mask * (level - grey)


def _blotches(draws: Draws, cells: int) -> Grey:
    """Smooth texture from -1 to 1: `cells` by `cells` random values, interpolated."""
    field = draws.grain(cells + 1)
    at = np.arange(SIDE_PIXELS) * cells / SIDE_PIXELS
    low = at.astype(np.int64)
    part = at - low
    rows = field[low] * (1.0 - part[:, None]) + field[low + 1] * part[:, None]
    texture: Grey = rows[:, low] * (1.0 - part) + rows[:, low + 1] * part
    return texture


def _middle(draws: Draws) -> tuple[int, int]:
    return CENTER + draws.integer(-2, 2), CENTER + draws.integer(-2, 2)


def _ct(draws: Draws) -> Grey:
    x, y = _middle(draws)
    wide, high = draws.integer(36, 39), draws.integer(32, 36)
    grey = np.full((SIDE_PIXELS, SIDE_PIXELS), 8.0)
    _over(grey, _ellipse(x, y, wide, high), 190.0)
    _over(grey, _ellipse(x, y, wide - 4, high - 4), 85.0 + draws.integer(-8, 8))
    grey += _blotches(draws, 5) * 10.0
    _over(grey, _ellipse(x, y + high - 8, 4, 4), 190.0)
    return grey


def _mri(draws: Draws) -> Grey:
    x, y = _middle(draws)
    wide, high = draws.integer(33, 36), draws.integer(37, 40)
    grey = np.full((SIDE_PIXELS, SIDE_PIXELS), 2.0)
    _over(grey, _ellipse(x, y, wide, high), 160.0)
    _over(grey, _ellipse(x, y, wide - 2, high - 2), 15.0)
    _over(grey, _ellipse(x, y, wide - 4, high - 4), 105.0 + draws.integer(-8, 8))
    grey += _blotches(draws, 14) * 28.0 * _ellipse(x, y, wide - 4, high - 4)
    for sign in (-1, 1):
        _over(grey, _ellipse(x + 4 * sign, y, 3, 9), 25.0)
    return grey


def _xray(draws: Draws) -> Grey:
    x, y = _middle(draws)
    grey = 120.0 + _blotches(draws, 3) * 15.0
    gap, tall = draws.integer(19, 21), draws.integer(33, 37)
    bow = (_X - x) * (_X - x) / 60.0
    ribs = ((_Y - bow + draws.integer(0, 10) + SIDE_PIXELS) % 11.0 < 2.0) * 22.0
    for sign in (-1, 1):
        lung = _ellipse(x + gap * sign, y, 17, tall)
        grey += lung * (45.0 + ribs - grey)
    return grey


def _ultrasound(draws: Draws) -> Grey:
    x, _ = _middle(draws)
    depth = _Y + draws.integer(26, 32)
    fan = (np.abs(_X - x) < depth * 0.75) & ((_X - x) * (_X - x) + depth * depth < 112.0 * 112.0)
    speckle = 1.0 + 0.45 * draws.grain(SIDE_PIXELS) + 0.3 * _blotches(draws, 20)
    return np.where(fan, (95.0 - 0.5 * _Y) * speckle, 3.0)


ANATOMY: dict[str, Callable[[Draws], Grey]] = {"CT": _ct, "MRI": _mri, "X-ray": _xray, "ultrasound": _ultrasound}


def lesion(grey: Grey, draws: Draws, quadrant: str, radii_pixels: tuple[int, int]) -> tuple[int, int, int, int]:
    """Paint one bright lesion in a quadrant of the image, 13 to 20 pixels from both center lines.

    Returns:
        Left, top, right and bottom edge of its pixels.
    """
    x = draws.integer(13, 20) * (-1 if quadrant.endswith("left") else 1) + CENTER
    y = draws.integer(13, 20) * (-1 if quadrant.startswith("upper") else 1) + CENTER
    wide, high = draws.integer(*radii_pixels), draws.integer(*radii_pixels)
    mask = _ellipse(x, y, wide + 0.5, high + 0.5, edge=3.0)
    grey += mask * (215.0 + draws.integer(-15, 30) - grey)
    return x - wide, y - high, x + wide, y + high


def expose(grey: Grey, draws: Draws) -> NDArray[np.uint8]:
    """The image with random contrast, brightness and noise, as integer grey levels from 0 to 255."""
    contrast, brightness, noise = draws.integer(80, 110) / 100.0, draws.integer(-12, 12), draws.integer(4, 22)
    exposed = grey * contrast + brightness + draws.grain(SIDE_PIXELS) * noise
    return np.clip(exposed + 0.5, 0.0, 255.0).astype(np.uint8)
