"""Painting of phantom images: four simplified anatomies, lesions and noise."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lowmed.nano.canvas import Canvas, Draws, Grey, over

SIDE_PIXELS = 84
CENTER = SIDE_PIXELS // 2
_CANVAS = Canvas(SIDE_PIXELS, edge=6.0)
_X, _Y = _CANVAS.x, _CANVAS.y


def _middle(draws: Draws) -> tuple[int, int]:
    return CENTER + draws.integer(-2, 2), CENTER + draws.integer(-2, 2)


def _ct(draws: Draws) -> Grey:
    x, y = _middle(draws)
    wide, high = draws.integer(36, 39), draws.integer(32, 36)
    grey = np.full((SIDE_PIXELS, SIDE_PIXELS), 8.0)
    over(grey, _CANVAS.ellipse(x, y, wide, high), 190.0)
    over(grey, _CANVAS.ellipse(x, y, wide - 4, high - 4), 85.0 + draws.integer(-8, 8))
    grey += _CANVAS.blotches(draws, 5) * 10.0
    over(grey, _CANVAS.ellipse(x, y + high - 8, 4, 4), 190.0)
    return grey


def _mri(draws: Draws) -> Grey:
    x, y = _middle(draws)
    wide, high = draws.integer(33, 36), draws.integer(37, 40)
    grey = np.full((SIDE_PIXELS, SIDE_PIXELS), 2.0)
    over(grey, _CANVAS.ellipse(x, y, wide, high), 160.0)
    over(grey, _CANVAS.ellipse(x, y, wide - 2, high - 2), 15.0)
    over(grey, _CANVAS.ellipse(x, y, wide - 4, high - 4), 105.0 + draws.integer(-8, 8))
    grey += _CANVAS.blotches(draws, 14) * 28.0 * _CANVAS.ellipse(x, y, wide - 4, high - 4)
    for sign in (-1, 1):
        over(grey, _CANVAS.ellipse(x + 4 * sign, y, 3, 9), 25.0)
    return grey


def _xray(draws: Draws) -> Grey:
    x, y = _middle(draws)
    grey = 120.0 + _CANVAS.blotches(draws, 3) * 15.0
    gap, tall = draws.integer(19, 21), draws.integer(33, 37)
    bow = (_X - x) * (_X - x) / 60.0
    ribs = ((_Y - bow + draws.integer(0, 10) + SIDE_PIXELS) % 11.0 < 2.0) * 22.0
    for sign in (-1, 1):
        lung = _CANVAS.ellipse(x + gap * sign, y, 17, tall)
        grey += lung * (45.0 + ribs - grey)
    return grey


def _ultrasound(draws: Draws) -> Grey:
    x, _ = _middle(draws)
    depth = _Y + draws.integer(26, 32)
    fan = (np.abs(_X - x) < depth * 0.75) & ((_X - x) * (_X - x) + depth * depth < 112.0 * 112.0)
    speckle = 1.0 + 0.45 * draws.grain(SIDE_PIXELS) + 0.3 * _CANVAS.blotches(draws, 20)
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
    mask = _CANVAS.ellipse(x, y, wide + 0.5, high + 0.5, edge=3.0)
    grey += mask * (215.0 + draws.integer(-15, 30) - grey)
    return x - wide, y - high, x + wide, y + high


def expose(grey: Grey, draws: Draws) -> NDArray[np.uint8]:
    """The image with random contrast, brightness and noise, as integer grey levels from 0 to 255."""
    contrast, brightness, noise = draws.integer(80, 110) / 100.0, draws.integer(-12, 12), draws.integer(4, 22)
    exposed = grey * contrast + brightness + draws.grain(SIDE_PIXELS) * noise
    return np.clip(exposed + 0.5, 0.0, 255.0).astype(np.uint8)
