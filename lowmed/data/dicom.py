"""DICOM files as pictures: their pixels as a radiologist would see them, and the few tags that may be kept.

Name, number and dates of the patient never leave this module; the patient becomes a salted digest. Needs the extra
`dicom` (pydicom and its codecs).
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lowmed.data.images import check_shape
from lowmed.data.local import Frames, chosen
from lowmed.errors import DataError, SetupError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
# Centre and width in Hounsfield units, as in common use.
WINDOWS = {
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "soft": (40.0, 400.0),
    "brain": (40.0, 80.0),
    "liver": (60.0, 160.0),
}
MODALITIES = {
    "CT": "CT", "MR": "MRI", "CR": "X-ray", "DX": "X-ray", "RG": "X-ray", "RF": "fluoroscopy", "XA": "angiography",
    "US": "ultrasound", "MG": "mammography", "PT": "PET", "NM": "scintigraphy", "OP": "fundus photography",
    "OPT": "OCT", "OCT": "OCT", "ES": "endoscopy", "SM": "histopathology", "XC": "photograph",
}  # fmt: skip
SIDES = {"L": "left", "R": "right", "B": "both sides"}
VIEWS = frozenset({"AP", "PA", "LL", "RL", "LAT", "LATERAL", "MLO", "CC", "ML", "LM", "OBLIQUE", "LLO", "RLO", "XCCL"})


@dataclass(frozen=True, slots=True)
class Film:
    """What one file shows: its pictures in 8 bit, and what may be said of them."""

    pictures: tuple[Image.Image, ...]
    modality: str
    view: str
    patient: str


def is_dicom(content: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does."""
    return content[128:132] == b"DICM"


def read(content: bytes, where: str, *, frames: Frames, window: str | None, salt: bytes) -> Film:
    """The chosen frames of a DICOM file, windowed, upright in brightness, 8 bits deep.

    `window` (a name of WINDOWS) applies to CT, whose values are Hounsfield units; without it, and for everything
    else, the file's own window is used, or its darkest to brightest value.

    Raises:
        SetupError: pydicom is not installed.
        DataError: the file holds no picture, is damaged, or needs a codec that is not installed.
    """
    data = _parse(content, where)
    try:
        check_shape(int(data.get("Columns", 0) or 0), int(data.get("Rows", 0) or 0))
        numbers = chosen(int(data.get("NumberOfFrames", 1) or 1), frames)
    except DataError as error:
        raise DataError(error.what, where, error.fix) from error
    except (ValueError, TypeError) as error:
        raise _damaged(where, "its count of frames cannot be used") from error
    pictures = tuple(_shown(values, data, window, where) for values in _decoded(data, numbers, where))
    return Film(pictures, MODALITIES.get(_code(data, "Modality"), ""), _view(data), _patient(data, salt))


def _parse(content: bytes, where: str) -> "Dataset":
    try:
        import pydicom
    except ImportError as error:
        raise SetupError("a DICOM file, and pydicom is not installed", where, "pip install 'lowmed[dicom]'") from error
    try:
        data = pydicom.dcmread(BytesIO(content), force=True)
        present = any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes the parser raise nearly anything
        raise _damaged(where, f"it cannot be parsed, {type(error).__name__}") from error
    if not present:
        raise DataError("the DICOM file holds no pixels", where, "leave it out: a report, plan or waveform is no image")
    return data


def _decoded(data: "Dataset", numbers: range, where: str) -> list[npt.NDArray[Any]]:
    """The frames; what pydicom says on failure is not repeated, for it may quote the file's tags."""
    from pydicom.pixels import iter_pixels

    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise _damaged(where, "it names no transfer syntax")
    try:
        return list(iter_pixels(data, indices=list(numbers)))
    except MemoryError:
        raise
    except (NotImplementedError, RuntimeError) as error:
        missing = _missing_codec(syntax)
        if missing:
            fix = f"pip install 'lowmed[dicom]', or convert the file; it is compressed as {syntax.name}"
            raise DataError(f"the DICOM file needs {missing}", where, fix) from error
        raise _damaged(where, f"no decoder accepts its pixels ({syntax.name})") from error
    except Exception as error:  # of pydicom and four codecs
        raise _damaged(where, f"its pixels cannot be read, {type(error).__name__}") from error


def _missing_codec(syntax: Any) -> str:
    """Which plug-in would decode this transfer syntax, where none that is installed can; "" where one can."""
    from pydicom.pixels import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"a codec for {syntax.name}, and pydicom knows none"
    wanted = {plugin: needs for plugin, needs in decoder.missing_dependencies_by_plugin.items()} if hasattr(
        decoder, "missing_dependencies_by_plugin"
    ) else {}
    return "" if decoder.is_available else f"a codec plug-in ({'; '.join(map(str, wanted or decoder.missing_dependencies))})"


def _damaged(where: str, why: str) -> DataError:
    return DataError(f"the DICOM file is damaged: {why}", where, "export it again, or leave it out")
