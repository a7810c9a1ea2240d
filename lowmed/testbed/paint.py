"""Painting of testbed images: six simplified modalities, findings, a scale bar and features without meaning."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lowmed.nano.canvas import Canvas, Draws, Grey, over
from lowmed.testbed.scene import Finding, Scene

SIDE_PIXELS = 112
CENTER = SIDE_PIXELS // 2
BAR_MILLIMETERS = 20
LEVELS = {"dense": 222.0, "lucent": 14.0}
_REACH = 22  # pixels around the center of a finding that it may change
_CANVAS = Canvas(SIDE_PIXELS, edge=8.0)
_X, _Y = _CANVAS.x, _CANVAS.y
_DIAGONAL = 0.7071
_DIRECTIONS = (
    (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0),
    (_DIAGONAL, _DIAGONAL), (-_DIAGONAL, -_DIAGONAL), (_DIAGONAL, -_DIAGONAL), (-_DIAGONAL, _DIAGONAL),
)  # fmt: skip
# Shares of red, green and blue in the one modality with colors.
_FUNDUS_TINT = np.array([1.0, 0.6, 0.35])


def paint(scene: Scene, draws: Draws) -> tuple[NDArray[np.uint8], list[tuple[int, int, int, int]]]:
    """The image of a scene, and where its findings are.

    Returns:
        (112, 112, 3) levels from 0 to 255, and for each finding the left, top, right and bottom edge of its pixels,
        without spicules.
    """
    grey = _ANATOMY[scene.modality](draws)
    for name in scene.distractors:
        _DISTRACTORS[name](grey, draws)
    places = [_finding(grey, draws, finding, scene.scale) for finding in scene.findings]
    contrast, brightness, noise = draws.integer(85, 108) / 100.0, draws.integer(-10, 10), draws.integer(3, 14)
    grey = grey * contrast + brightness + draws.grain(SIDE_PIXELS) * noise
    if scene.style == "B":  # a bright frame and less contrast
        grey = grey * 0.8 + 20.0
        for edge in (np.s_[:3], np.s_[-3:], np.s_[:, :3], np.s_[:, -3:]):
            grey[edge] = 170.0
    _scale_bar(grey, scene.scale)
    _marker(grey, scene.marker)
    tint = _FUNDUS_TINT if scene.modality == "fundus" else np.ones(3)
    return np.clip(grey[:, :, None] * tint + 0.5, 0.0, 255.0).astype(np.uint8), places


def _middle(draws: Draws) -> tuple[int, int]:
    return CENTER + draws.integer(-2, 2), CENTER + draws.integer(-2, 2)


def _flat(level: float) -> Grey:
    return np.full((SIDE_PIXELS, SIDE_PIXELS), level)


def _ct(draws: Draws) -> Grey:
    x, y = _middle(draws)
    wide, high = draws.integer(51, 53), draws.integer(47, 50)
    grey = _flat(8.0)
    over(grey, _CANVAS.ellipse(x, y, wide, high), 190.0)
    over(grey, _CANVAS.ellipse(x, y, wide - 4, high - 4), 95.0 + draws.integer(-8, 8))
    grey += _CANVAS.blotches(draws, 5) * 10.0
    over(grey, _CANVAS.ellipse(x, y + high - 8, 5, 4), 190.0)
    return grey


def _mri(draws: Draws) -> Grey:
    x, y = _middle(draws)
    wide, high = draws.integer(47, 50), draws.integer(51, 53)
    grey = _flat(2.0)
    over(grey, _CANVAS.ellipse(x, y, wide, high), 160.0)
    over(grey, _CANVAS.ellipse(x, y, wide - 2, high - 2), 15.0)
    inside = _CANVAS.ellipse(x, y, wide - 4, high - 4)
    over(grey, inside, 110.0 + draws.integer(-8, 8))
    grey += _CANVAS.blotches(draws, 16) * 26.0 * inside
    for sign in (-1, 1):
        over(grey, _CANVAS.ellipse(x + 4 * sign, y, 3, 10), 25.0)
    return grey


def _xray(draws: Draws) -> Grey:
    x, y = _middle(draws)
    grey = 150.0 + _CANVAS.blotches(draws, 3) * 12.0
    gap, tall = draws.integer(26, 28), draws.integer(48, 51)
    bow = (_X - x) * (_X - x) / 80.0
    ribs = ((_Y - bow + draws.integer(0, 12) + SIDE_PIXELS) % 13.0 < 2.0) * 20.0
    for sign in (-1, 1):
        over(grey, _CANVAS.ellipse(x + gap * sign, y, 24, tall), 85.0 + ribs)
    return grey


def _ultrasound(draws: Draws) -> Grey:
    x, _ = _middle(draws)
    depth = _Y + draws.integer(30, 36)
    fan = (np.abs(_X - x) < depth * 0.85) & ((_X - x) * (_X - x) + depth * depth < 142.0 * 142.0)
    speckle = 1.0 + 0.35 * draws.grain(SIDE_PIXELS) + 0.2 * _CANVAS.blotches(draws, 24)
    return np.where(fan, (118.0 - 0.3 * _Y) * speckle, 3.0)


def _mammography(draws: Draws) -> Grey:
    _, y = _middle(draws)
    grey = _flat(4.0)
    tissue = 100.0 + _CANVAS.blotches(draws, 9) * 24.0 + _CANVAS.blotches(draws, 3) * 10.0
    over(grey, _CANVAS.ellipse(0, y, draws.integer(116, 120), draws.integer(70, 74)), tissue)
    return grey


def _fundus(draws: Draws) -> Grey:
    x, y = _middle(draws)
    grey = _flat(6.0)
    over(grey, _CANVAS.ellipse(x, y, 54, 54, 12.0), 125.0 + _CANVAS.blotches(draws, 4) * 10.0)
    for sign in (-1, 1):  # two vessels that cross the disc in arcs
        bend = (_X - CENTER) * (_X - CENTER) / 150.0
        grey -= 45.0 * (np.abs(_Y - y - sign * (6.0 + bend)) < 1.2) * (grey > 60.0)
    over(grey, _CANVAS.ellipse(x, y, 5, 5), 200.0)
    return grey


_ANATOMY: dict[str, Callable[[Draws], Grey]] = {
    "CT": _ct,
    "MRI": _mri,
    "X-ray": _xray,
    "ultrasound": _ultrasound,
    "mammography": _mammography,
    "fundus": _fundus,
}


def _wire(grey: Grey, draws: Draws) -> None:
    """A thin bright line from the left to the right edge."""
    start, slope = draws.integer(20, 90), draws.integer(-4, 4) / 10.0
    over(grey, np.clip(1.5 - np.abs(_Y - start - slope * (_X - CENTER)), 0.0, 1.0), 200.0)


def _ring(grey: Grey, draws: Draws) -> None:
    """A thin circle around the center of the image, as detectors cause."""
    radius = draws.integer(14, 40)
    square = (_X - CENTER) * (_X - CENTER) + (_Y - CENTER) * (_Y - CENTER)
    over(grey, np.clip(1.0 - np.abs(square - radius * radius) / (2.0 * radius), 0.0, 1.0), 150.0)


_DISTRACTORS: dict[str, Callable[[Grey, Draws], None]] = {"wire": _wire, "ring": _ring}


def center(draws: Draws, quadrant: str) -> tuple[int, int]:
    """A random place near the middle of a quadrant, in pixels from the left and from the top."""
    x = CENTER + draws.integer(21, 27) * (-1 if quadrant.endswith("left") else 1)
    y = CENTER + draws.integer(21, 27) * (-1 if quadrant.startswith("upper") else 1)
    return x, y


def _finding(grey: Grey, draws: Draws, finding: Finding, scale: int) -> tuple[int, int, int, int]:
    """Paint one finding, and return its edges."""
    x, y = center(draws, finding.quadrant)
    radius = finding.millimeters * scale / 20.0
    wide = high = radius
    if finding.shape == "oval":
        wide, high = draws.one(((radius, radius * 0.5), (radius * 0.5, radius)))
    window = np.s_[y - _REACH : y + _REACH, x - _REACH : x + _REACH]
    right, down = _X[window] - x, _Y[window] - y
    across, along = right / (wide + 0.5), down / (high + 0.5)
    mask = np.clip((1.0 - across * across - along * along) * 3.0, 0.0, 1.0)
    if finding.margin == "spiculated":
        for to_right, to_bottom in _DIRECTIONS:
            inner = wide if to_bottom == 0.0 else high if to_right == 0.0 else min(wide, high)
            forward = right * to_right + down * to_bottom
            aside = np.abs(right * to_bottom - down * to_right)
            spicule = np.clip(1.5 - aside, 0.0, 1.0) * (forward > 0) * np.clip(inner + 5.0 - forward, 0.0, 1.0)
            mask = np.maximum(mask, spicule)
    part = grey[window]
    part += mask * (LEVELS[finding.density] + draws.integer(-10, 10) - part)
    left, top = round(x - wide), round(y - high)
    return left, top, round(x + wide), round(y + high)


def _scale_bar(grey: Grey, scale: int) -> None:
    """A bar of 20 mm at the bottom, with a tick at each end."""
    half = BAR_MILLIMETERS * scale // 20
    grey[106:108, CENTER - half : CENTER + half] = 245.0
    for x in (CENTER - half, CENTER + half - 1):
        grey[103:111, x] = 245.0


def _marker(grey: Grey, corner: str) -> None:
    rows = np.s_[4:10] if corner.startswith("upper") else np.s_[-10:-4]
    columns = np.s_[4:10] if corner.endswith("left") else np.s_[-10:-4]
    grey[rows, columns] = 250.0
