"""Slices of NIfTI volumes as images: axial, coronal or sagittal, as radiologists display them.

The patient's right is on the left of the image; front or head is on top; a sagittal slice faces left. No text of the
header is kept. Needs the extra `nifti` (nibabel).
"""

import gzip
import logging
import math
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from lowmed.data.image.dicom import WINDOWS
from lowmed.data.image.other_files import unpacked
from lowmed.data.image.policy import check_shape
from lowmed.errors import DataError

Plane = Literal["axial", "coronal", "sagittal"]
MAX_BYTES = 2**30  # of the unpacked volume
MAX_HEADER_BYTES = 2**20
SAMPLED = 2**20  # voxels that the range of brightness is computed from
PERCENTILES = (1, 99)
# Of a volume whose axes point right, forward and up: the axis of the slices, and those of columns and rows.
_AXES: dict[Plane, tuple[int, int, int]] = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}
Values = npt.NDArray[np.float64]


def read(
    content: bytes, where: str, *, choose: Callable[[int], Sequence[int]], plane: Plane, window: str | None
) -> tuple[list[Image.Image], int]:
    """Slices of a volume in 8 bits, and how many slices the file contains; of a series of volumes, the first is used.

    Args:
        content: the file.
        where: names the file in errors.
        choose: selects slices by their number; the first slice is the lowest, rearmost or leftmost.
        plane: the plane of the slices.
        window: a name of WINDOWS, for volumes in Hounsfield units; None for the 1st to 99th percentile of the values.

    Raises:
        DataError: the volume is damaged, too large, or needs nibabel, which is not installed.
    """
    try:
        import nibabel
    except ImportError as error:
        what = "a NIfTI volume needs nibabel, which is not installed: pip install 'lowmed[nifti]'"
        raise DataError(what, where, "install it, or save the slices as PNG") from error
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it prints what it repairs in a header
    try:
        return _slices(nibabel, content, choose, plane, window)
    except DataError as error:
        raise DataError(error.what, where, error.fix) from error
    except MemoryError:
        raise
    except Exception as error:  # nibabel and numpy raise nearly any exception on a damaged header
        what = f"the NIfTI volume is damaged ({type(error).__name__})"
        raise DataError(what, where, "export it again, or leave it out") from error


def _slices(
    nibabel: Any, content: bytes, choose: Callable[[int], Sequence[int]], plane: Plane, window: str | None
) -> tuple[list[Image.Image], int]:
    volume = _volume(nibabel, content)
    shape, proxy = volume.shape, volume.dataobj
    if len(shape) < 2 or min(shape) < 1:
        raise _unusable(f"the NIfTI volume has the shape {' x '.join(map(str, shape))}")
    orientation = nibabel.io_orientation(volume.affine)[:3]
    if np.isnan(orientation).any() or not np.isfinite(volume.affine).all():
        raise _unusable("the NIfTI volume does not state how its axes lie in the patient")
    axis_of = {int(target): (axis, direction < 0) for axis, (target, direction) in enumerate(orientation)}
    cut, across, down = (axis_of[target] for target in _AXES[plane])
    full = (*shape, 1)[:3] if len(shape) < 3 else shape[:3]
    count = full[cut[0]]
    series = math.prod(shape[3:])
    check_shape(full[across[0]], full[down[0]])
    low, high = _range(proxy, shape, window)
    images = []
    for number in choose(count):
        place: list[Any] = [slice(None)] * 3 + [0] * (len(shape) - 3)
        place[cut[0]] = count - 1 - number if cut[1] else number
        values = np.asarray(proxy[tuple(place[: len(shape)])], np.float64)
        values = values.reshape([full[axis] for axis in range(3) if axis != cut[0]])
        rows = values if down[0] < across[0] else values.T
        # Right, front and head are at the end of their axes, and belong to the left and the top of the image.
        rows = rows[:: 1 if down[1] else -1, :: 1 if across[1] else -1]
        scaled = np.clip((np.nan_to_num(rows, nan=low) - low) / (high - low), 0, 1)
        images.append(_square(Image.fromarray((scaled * 255).round().astype(np.uint8)), volume, across[0], down[0]))
    return images, count * series


def _volume(nibabel: Any, content: bytes) -> Any:
    """The volume, unpacked, after its header was checked."""
    packed = content[:2] == b"\x1f\x8b"
    head = unpacked(content[:65536]) if packed else content[:4096]
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        raise _unusable("the NIfTI header has its values in another file (.hdr and .img)")
    kind = nibabel.Nifti2Image if head[4:8] == b"n+2\0" else nibabel.Nifti1Image
    header = kind.header_class.from_fileobj(BytesIO(head))
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise _unusable("the NIfTI volume has colours or complex numbers, which are not read")
    offset, size = int(header["vox_offset"]), math.prod(shape) * dtype.itemsize
    if size > MAX_BYTES or not 0 <= offset <= MAX_HEADER_BYTES:
        raise _unusable(f"the NIfTI volume has {size / 2**30:,.1f} GiB, more than {MAX_BYTES // 2**30}")
    if packed:
        with gzip.open(BytesIO(content)) as file:
            content = file.read(offset + size)
    if len(content) < offset + size:
        raise DataError("the NIfTI volume is cut off", "", "copy it again from its source")
    return kind.from_bytes(content)


def _range(proxy: Any, shape: tuple[int, ...], window: str | None) -> tuple[float, float]:
    """The values that become black and white."""
    if window:
        centre, width = WINDOWS[window]
        return centre - width / 2, centre + width / 2
    step = max(1, math.ceil((math.prod(shape[:3]) / SAMPLED) ** (1 / min(3, len(shape)))))
    place = (slice(None, None, step),) * min(3, len(shape)) + (0,) * (len(shape) - 3)
    values = np.asarray(proxy[place], np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        raise _unusable("no value of the NIfTI volume is a finite number")
    low, high = np.percentile(values, PERCENTILES)
    if high <= low:
        low, high = values.min(), values.max()
    return float(low), float(high) if high > low else float(low) + 1


def _square(image: Image.Image, volume: Any, across: int, down: int) -> Image.Image:
    """The slice with square pixels, whatever the distance of slices."""
    zooms = [*map(float, volume.header.get_zooms()), 1.0, 1.0, 1.0]
    wide, high = zooms[across], zooms[down]
    if not (math.isfinite(wide) and math.isfinite(high)) or min(wide, high) <= 0 or abs(wide / high - 1) < 0.01:
        return image
    finer = min(wide, high)
    size = max(1, round(image.width * wide / finer)), max(1, round(image.height * high / finer))
    check_shape(*size)
    return image.resize(size, Image.Resampling.BICUBIC)


def _unusable(what: str) -> DataError:
    return DataError(what, "", "save its slices as PNG, or leave it out")
