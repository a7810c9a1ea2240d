"""DICOM files as images: their pixels as a radiologist would see them, and the few tags that may be kept.

Name, number and dates of the patient never leave this module; the patient becomes a salted digest. Needs the extra
`dicom` (pydicom and its codecs).
"""

import hashlib
import logging
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lowmed.data.image.files import Frames, frame_range
from lowmed.data.image.policy import check_shape
from lowmed.errors import DataError

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
class DicomImage:
    """What one file shows: its images in 8 bit, and what may be said of them."""

    images: tuple[Image.Image, ...]
    modality: str
    view: str
    patient: str


def is_dicom(content: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does."""
    return content[128:132] == b"DICM"


def read(content: bytes, where: str, *, frames: Frames, window: str | None, salt: bytes) -> DicomImage:
    """The chosen frames of a DICOM file, windowed, upright in brightness, 8 bits deep.

    `window` (a name of WINDOWS) applies to CT, whose values are Hounsfield units; without it, and for everything
    else, the file's own window is used, or its darkest to brightest value.

    Raises:
        DataError: the file holds no image, is damaged, or needs pydicom or a codec that is not installed.
    """
    data = _parse(content, where)
    try:
        check_shape(int(data.get("Columns", 0) or 0), int(data.get("Rows", 0) or 0))
        numbers = frame_range(int(data.get("NumberOfFrames", 1) or 1), frames)
    except DataError as error:
        raise DataError(error.what, where, error.fix) from error
    except (ValueError, TypeError) as error:
        raise _damaged(where, "its count of frames cannot be used") from error
    decoded = _decoded(data, numbers, where)
    try:
        images = tuple(_shown(values, data, window) for values in decoded)
    except MemoryError:
        raise
    except Exception as error:  # tags that contradict the pixels make pydicom and numpy raise nearly anything
        raise _damaged(where, f"its tags do not fit its pixels, {type(error).__name__}") from error
    return DicomImage(images, MODALITIES.get(_code(data, "Modality"), ""), _view(data), _patient(data, salt))


def _parse(content: bytes, where: str) -> "Dataset":
    try:
        import pydicom
    except ImportError as error:
        told = "a DICOM file needs pydicom, which is not installed: pip install 'lowmed[dicom]'"
        raise DataError(told, where, "install it, or save the picture as PNG") from error
    warnings.filterwarnings("ignore", module="pydicom")  # they quote what the tags hold
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
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
    from pydicom.pixels.utils import iter_pixels

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


def _damaged(where: str, why: str) -> DataError:
    return DataError(f"the DICOM file is damaged: {why}", where, "export it again, or leave it out")


def _missing_codec(syntax: Any) -> str:
    """What would have to be installed to decode this transfer syntax; "" where something is."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"a codec for {syntax.name}, and pydicom knows none"
    return (
        ""
        if decoder.is_available
        else f"a codec plug-in for {syntax.name}: {' or '.join(decoder.missing_dependencies)}"
    )


def _shown(values: npt.NDArray[Any], data: "Dataset", window: str | None) -> Image.Image:
    if values.ndim == 3:
        return Image.fromarray(_eight_bit_colour(values, int(data.BitsStored)))
    if data.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        return Image.fromarray(_eight_bit_colour(apply_color_lut(values, data)[..., :3], 0))
    grey = _windowed(_rescaled(values, data), data, window)
    if data.PhotometricInterpretation == "MONOCHROME1":  # its lowest value is white
        grey = 1 - grey
    return Image.fromarray((grey * 255).round().astype(np.uint8))


def _eight_bit_colour(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    depth = bits or values.dtype.itemsize * 8
    return (values if depth <= 8 else values >> (depth - 8)).astype(np.uint8)


def _rescaled(values: npt.NDArray[Any], data: "Dataset") -> npt.NDArray[np.float64]:
    """Values in the unit of the modality, Hounsfield for CT (PS3.3, C.11.1)."""
    from pydicom.pixels.processing import apply_modality_lut

    if "ModalityLUTSequence" in data:
        return np.asarray(apply_modality_lut(values, data), np.float64)
    shared = _shared(data, "PixelValueTransformationSequence")
    slope = float(data.get("RescaleSlope", shared.get("RescaleSlope", 1)) or 1)
    return values.astype(np.float64) * slope + float(
        data.get("RescaleIntercept", shared.get("RescaleIntercept", 0)) or 0
    )


def _windowed(values: npt.NDArray[np.float64], data: "Dataset", window: str | None) -> npt.NDArray[np.float64]:
    """Brightness in [0, 1]: of the named window, of the file's LUT or window, or from darkest to brightest."""
    from pydicom.pixels.processing import apply_voi

    if window and data.get("Modality") == "CT":
        return _linear(values, *WINDOWS[window], exact=False)
    if data.get("VOILUTSequence"):
        bits = int(data.VOILUTSequence[0].LUTDescriptor[2])
        shown: npt.NDArray[np.float64] = np.clip(apply_voi(values.astype(np.int64), data) / (2.0**bits - 1), 0, 1)
        return shown
    shared = _shared(data, "FrameVOILUTSequence")
    centre, width = (_first(data.get(name, shared.get(name))) for name in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width >= 1:
        function = str(data.get("VOILUTFunction", "LINEAR"))
        if function == "SIGMOID":
            falling: npt.NDArray[np.float64] = np.exp(np.clip(-4 * (values - centre) / width, -500, 500))
            rising: npt.NDArray[np.float64] = np.reciprocal(falling + 1)
            return rising
        return _linear(values, centre, width, exact=function == "LINEAR_EXACT")
    low, span = values.min(), values.max() - values.min()
    if not np.isfinite(span):
        raise ValueError("some pixels are not finite numbers")
    return (values - low) / span if span > 0 else np.zeros_like(values)


def _linear(values: npt.NDArray[np.float64], centre: float, width: float, *, exact: bool) -> npt.NDArray[np.float64]:
    """PS3.3, C.11.2.1.2.1 (LINEAR) and C.11.2.1.3.2 (LINEAR_EXACT), scaled to [0, 1]."""
    if exact:
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _shared(data: "Dataset", name: str) -> Any:
    """The item that all frames of an enhanced file share, or an empty one."""
    groups = data.get("SharedFunctionalGroupsSequence") or [{}]
    return (groups[0].get(name) or [{}])[0]


def _first(value: Any) -> float | None:
    """A tag may hold several windows; the first is the default."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float | str) else value[0])


def _code(data: "Dataset", name: str) -> str:
    value = data.get(name)
    return value.strip().upper() if isinstance(value, str) else ""


def _view(data: "Dataset") -> str:
    """Side and view in words, and only from closed lists: free text could hold a name."""
    side = SIDES.get(_code(data, "ImageLaterality")) or SIDES.get(_code(data, "Laterality")) or ""
    view = _code(data, "ViewPosition")
    return ", ".join(filter(None, (side, view if view in VIEWS else "")))


def _patient(data: "Dataset", salt: bytes) -> str:
    named = str(data.get("PatientID") or "").strip() or str(data.get("PatientName") or "").strip()
    return pseudonym(named, salt) if named else ""


def pseudonym(text: str, salt: bytes) -> str:
    """Twelve hex digits that stand for a text and cannot be turned back without the salt."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), key=salt, digest_size=6).hexdigest()
