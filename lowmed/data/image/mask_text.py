"""Cover text that is burned into an image. Needs the extra `mask` (RapidOCR, whose wheel contains its model).

A neural detector of text finds the boxes; no text is read. It can miss text, so masking is not a de-identification.
It also covers side markers, scales and window values, because it cannot distinguish them from names.
"""

from functools import lru_cache
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lowmed.errors import SetupError

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
RULES = "rapidocr PP-OCRv6 1"  # changes with everything here that changes a masked pixel
MAP_THRESHOLD, BOX_THRESHOLD = 0.2, 0.3  # lower than RapidOCR's own: a missed name is worse than a covered edge
LARGEST_LETTER = 0.12  # of the image's shorter side; the detector takes whole organs for letters larger than that
EDGE_PX = 32  # added around the image, because the detector misses text that touches the edge
RING_PX = 4  # around a box; their median fills it
# Factors of each pass: small print is missed at its own size, large print when enlarged. A cover can reveal a neighbor.
PASSES = ((1.0, 2.0), (1.0,))
LONGEST_PX = 1900  # of an enlarged image; the detector shrinks larger ones
_lock = Lock()


def require_detector() -> None:
    """Check that the detector is installed.

    Raises:
        SetupError: it is not.
    """
    if missing := [name for name in ("rapidocr", "onnxruntime") if find_spec(name) is None]:
        raise SetupError(f"masking text needs {' and '.join(missing)}", "--mask-text", "pip install 'lowmed[mask]'")


def mask_text(image: Image.Image) -> tuple[Image.Image, tuple[Box, ...]]:
    """The image with all text covered, and the covered boxes; the same object if there are none.

    Args:
        image: an image with one channel or RGB.

    Raises:
        SetupError: the detector is not installed.
    """
    boxes: list[Box] = []
    for scales in PASSES:
        # An image that cannot be enlarged is searched once.
        factors = dict.fromkeys(max(min(scale, LONGEST_PX / max(image.size)), 1.0) for scale in scales)
        if more := [box for factor in factors for box in find_text(image, factor)]:
            image = cover(image, more)
            boxes += more
    return image, tuple(box for box in dict.fromkeys(boxes) if not any(_within(box, other) for other in boxes))


def find_text(image: Image.Image, scale: float = 1.0) -> list[Box]:
    """The boxes of all text in an image, with a margin, from top to bottom.

    Args:
        image: an image with one channel or RGB.
        scale: enlarge the image by this factor for the search.

    Raises:
        SetupError: the detector is not installed.
    """
    enlarged = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    pixels = np.asarray(enlarged.convert("RGB"))[..., ::-1]  # the detector was trained on BGR
    around = np.pad(pixels, ((EDGE_PX, EDGE_PX), (EDGE_PX, EDGE_PX), (0, 0)), mode="edge")
    with _lock:  # RapidOCR keeps state between calls
        detected = _detector()(around, use_det=True, use_cls=False, use_rec=False).boxes
    corners = [] if detected is None else [(np.asarray(each, np.float64) - EDGE_PX) / scale for each in detected]
    boxes = (_box(each, image.size) for each in corners if _height(each) <= LARGEST_LETTER * min(image.size))
    return sorted({box for box in boxes if box[0] < box[2] and box[1] < box[3]}, key=lambda box: (box[1], box[0]))


def cover(image: Image.Image, boxes: list[Box]) -> Image.Image:
    """A copy in which each box has the median of the pixels around it."""
    pixels = np.array(image)
    for left, top, right, bottom in boxes:
        outer = pixels[max(top - RING_PX, 0) : bottom + RING_PX, max(left - RING_PX, 0) : right + RING_PX]
        ring = np.ones(outer.shape[:2], bool)
        above, before = min(top, RING_PX), min(left, RING_PX)
        ring[above : above + bottom - top, before : before + right - left] = False
        pixels[top:bottom, left:right] = np.median(outer[ring], axis=0) if ring.any() else 0
    return Image.fromarray(pixels)


def _within(box: Box, other: Box) -> bool:
    """Whether the other box is larger and contains this one."""
    inside = box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]
    return inside and box != other


@lru_cache(maxsize=1)
def _detector() -> Any:
    require_detector()
    from rapidocr import RapidOCR

    settings = {"Global.log_level": "critical", "Global.use_cls": False, "Global.use_rec": False}
    return RapidOCR(params={**settings, "Det.thresh": MAP_THRESHOLD, "Det.box_thresh": BOX_THRESHOLD})


def _height(corners: npt.NDArray[np.float64]) -> float:
    """The shorter side of a rotated box."""
    return float(min(np.linalg.norm(corners[0] - corners[1]), np.linalg.norm(corners[1] - corners[2])))


def _box(corners: npt.NDArray[np.float64], size: tuple[int, int]) -> Box:
    """The upright box around four corners with a margin of a tenth of its height and 2 pixels, within the image."""
    margin = 2 + 0.1 * _height(corners)
    left, top = np.floor(corners.min(axis=0) - margin).astype(int)
    right, bottom = np.ceil(corners.max(axis=0) + margin).astype(int)
    return max(int(left), 0), max(int(top), 0), min(int(right), size[0]), min(int(bottom), size[1])
