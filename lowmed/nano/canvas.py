"""What the painting of generated images shares: random words, and a square canvas.

All randomness comes from 64-bit words of Philox, whose values numpy guarantees. All arithmetic is addition,
multiplication and division of single elements, which IEEE 754 defines. So the pixels are the same on every machine.
"""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

Grey = NDArray[np.float64]
T = TypeVar("T")


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


class Canvas:
    """A square of gray levels.

    Args:
        side: width and height in pixels.
        edge: sharpness of the edges of ellipses.
    """

    def __init__(self, side: int, edge: float) -> None:
        self.side, self.edge = side, edge
        self.y, self.x = np.mgrid[0:side, 0:side].astype(np.float64) + 0.5

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, edge: float | None = None) -> Grey:
        """A mask from 0 to 1 with a soft edge: 1 inside. A larger `edge` is sharper."""
        across, down = (self.x - x) / half_width, (self.y - y) / half_height
        sharpness = self.edge if edge is None else edge
        mask: Grey = np.clip((1.0 - across * across - down * down) * sharpness, 0.0, 1.0)
        return mask

    def blotches(self, draws: Draws, cells: int) -> Grey:
        """Smooth texture from -1 to 1: `cells` by `cells` random values, interpolated."""
        field = draws.grain(cells + 1)
        at = np.arange(self.side) * cells / self.side
        low = at.astype(np.int64)
        part = at - low
        rows = field[low] * (1.0 - part[:, None]) + field[low + 1] * part[:, None]
        texture: Grey = rows[:, low] * (1.0 - part) + rows[:, low + 1] * part
        return texture


def over(grey: Grey, mask: Grey, level: float | Grey) -> None:
    """Paint a level over an image where the mask is."""
    grey += mask * (level - grey)
