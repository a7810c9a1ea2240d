"""Near-duplicates by perceptual hash: candidates for a person to compare, never proof.

Frontal chest radiographs of two patients look alike and have similar hashes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_DISTANCE = 4  # of 64 bits
SIDE, LOWEST = 32, 8  # pixels of the reduced image; frequencies kept of each axis
BLOCK = 512  # rows compared at once; bounds the memory
Pair = tuple[int, int, int]  # index on the left, index on the right, distance in bits


def perceptual_hash(image: Image.Image) -> int:
    """The 64-bit pHash of an image: which of its lowest frequencies exceed their median (Zauner 2010).

    Equal to `phash` of the package imagehash 4.3, which needs PyWavelets for its other hashes.
    """
    from scipy.fft import dct

    pixels = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), float)
    low = dct(dct(pixels, axis=0), axis=1)[:LOWEST, :LOWEST]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def near_pairs(left: Sequence[int], right: Sequence[int], within: int = MAX_DISTANCE) -> Iterator[Pair]:
    """All pairs of a left and a right hash that differ in at most `within` bits."""
    columns = np.array(right, np.uint64)
    for start in range(0, len(left), BLOCK):
        rows = np.array(left[start : start + BLOCK], np.uint64)
        distance: npt.NDArray[np.uint8] = np.bitwise_count(rows[:, None] ^ columns[None, :])
        for row, column in zip(*np.nonzero(distance <= within), strict=True):
            yield start + int(row), int(column), int(distance[row, column])
