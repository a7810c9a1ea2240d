"""Images that show one value, or nearly: failed exports, empty slices, transparency without content."""

from itertools import accumulate
from operator import sub

from PIL import Image

EQUAL_SHARE = 0.998  # of the stored pixels: single pixels, which resizing spreads, show nothing to ask about
EQUAL_RANGE = 8  # grey levels: noise, and what JPEG adds to one value


def is_blank(image: Image.Image) -> bool:
    """Whether nearly all pixels of an image of 8 bits lie within a few grey levels, in every channel."""
    counts = image.histogram()
    return all(_is_narrow(counts[start : start + 256]) for start in range(0, len(counts), 256))


def _is_narrow(counts: list[int]) -> bool:
    """Whether some range of a few levels holds nearly all pixels."""
    below = list(accumulate(counts, initial=0))
    wide = EQUAL_RANGE + 1
    most: int = max(map(sub, below[wide:], below))
    return most >= EQUAL_SHARE * below[-1]
