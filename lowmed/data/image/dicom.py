"""DICOM files as images: windowed pixels, and the few tags that may be kept.

Name, number and dates of the patient never leave this module; the patient becomes a pseudonym. Needs the extra `dicom`
(pydicom and its codecs).
"""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lowmed.data.image.files import Frames, frame_numbers
from lowmed.data.image.policy import check_shape
from lowmed.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
# Center and width in Hounsfield units, as commonly used.
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
    """A file's images, and the tags that may be kept: modality, view, and a pseudonym of the patient.

    `frames` of the file's images exist, and `shown` of them are in `images`; 0 if that is the number of images.
    """

    images: tuple[Image.Image, ...]
    modality: str
    view: str
    patient: str
    frames: int = 1
    shown: int = 0

    @property
    def unused(self) -> int:
        """The number of the file's frames that no image shows."""
        return self.frames - (self.shown or len(self.images))


def is_dicom(content: bytes) -> bool:
    """Whether the bytes have the prefix of a DICOM file."""
    return content[128:132] == b"DICM"


def read(content: bytes, where: str, *, frames: Frames, window: str | None, salt: bytes) -> DicomImage:
    """The selected frames of a DICOM file, windowed, in 8 bits; bright means high values.

    Args:
        content: the file.
        where: names the file in errors.
        frames: the first, the middle, all frames, or those of a montage.
        window: a name of WINDOWS, applied to CT, whose values are Hounsfield units. Otherwise the file's own window
            is used, else its range from the darkest to the brightest value.
        salt: salt of the patient's pseudonym.

    Raises:
        DataError: the file contains no image, is damaged, or needs pydicom or a codec that is not installed.
    """
    data = _parse(content, where)
    try:
        check_shape(int(data.get("Columns", 0) or 0), int(data.get("Rows", 0) or 0))
        count = int(data.get("NumberOfFrames", 1) or 1)
        numbers = frame_numbers(count, frames)
    except DataError as error:
        raise DataError(error.what, where, error.fix) from error
    except (ValueError, TypeError) as error:
        raise _damaged(where, "its number of frames is invalid") from error
    decoded = _decode(data, numbers, where)
    try:
        images = tuple(_to_image(values, data, window) for values in decoded)
    except MemoryError:
        raise
    except Exception as error:  # pydicom and numpy raise nearly any exception if tags contradict the pixels
        raise _damaged(where, f"its tags contradict its pixels, {type(error).__name__}") from error
    modality = MODALITIES.get(_code(data, "Modality"), "")
    return DicomImage(images, modality, _view(data), _patient(data, salt), count)


def import_pydicom(where: str) -> ModuleType:
    """The package pydicom, made silent because its warnings quote tags.

    Raises:
        DataError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        what = "a DICOM file needs pydicom, which is not installed: pip install 'lowmed[dicom]'"
        raise DataError(what, where, "install it, or save the image as PNG") from error
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    return pydicom


def _parse(content: bytes, where: str) -> "Dataset":
    pydicom = import_pydicom(where)
    try:
        data: Dataset = pydicom.dcmread(BytesIO(content), force=True)
        present = any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))
    except MemoryError:
        raise
    except Exception as error:  # the parser raises nearly any exception on a damaged file
        raise _damaged(where, f"it cannot be parsed, {type(error).__name__}") from error
    if not present:
        raise DataError("the DICOM file contains no pixels", where, "leave out reports, plans and waveforms")
    return data


def _decode(data: "Dataset", numbers: Sequence[int], where: str) -> list[npt.NDArray[Any]]:
    """The frames. Errors do not repeat the message of pydicom, which may quote the file's tags."""
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
    except Exception as error:  # pydicom and four codecs raise here
        raise _damaged(where, f"its pixels cannot be read, {type(error).__name__}") from error


def _damaged(where: str, why: str) -> DataError:
    return DataError(f"the DICOM file is damaged: {why}", where, "export it again, or leave it out")


def _missing_codec(syntax: Any) -> str:
    """The codec that this transfer syntax needs; "" if one is installed."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"a codec for {syntax.name}, and pydicom has none"
    return (
        ""
        if decoder.is_available
        else f"a codec plug-in for {syntax.name}: {' or '.join(decoder.missing_dependencies)}"
    )


def _to_image(values: npt.NDArray[Any], data: "Dataset", window: str | None) -> Image.Image:
    if values.ndim == 3:
        return Image.fromarray(_own_range(values) if int(data.BitsStored) > 8 else values.astype(np.uint8))
    if data.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        colour = apply_color_lut(values, data)[..., :3]
        return Image.fromarray((colour >> 8 * (colour.dtype.itemsize - 1)).astype(np.uint8))
    grey = _window(_rescale(values, data), data, window)
    if data.PhotometricInterpretation == "MONOCHROME1":  # its lowest value is white
        grey = 1 - grey
    return Image.fromarray((grey * 255).round().astype(np.uint8))


def _own_range(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """All channels from the darkest to the brightest value, as in other images of more than 8 bits."""
    low, span = float(values.min()), float(values.max()) - float(values.min())
    return ((values - low) * (255 / (span or 1))).round().astype(np.uint8)


def _rescale(values: npt.NDArray[Any], data: "Dataset") -> npt.NDArray[np.float64]:
    """Values in the unit of the modality, Hounsfield for CT (PS3.3, C.11.1)."""
    from pydicom.pixels.processing import apply_modality_lut

    if "ModalityLUTSequence" in data:
        return np.asarray(apply_modality_lut(values, data), np.float64)
    shared = _shared(data, "PixelValueTransformationSequence")
    slope = float(data.get("RescaleSlope", shared.get("RescaleSlope", 1)) or 1)
    return values.astype(np.float64) * slope + float(
        data.get("RescaleIntercept", shared.get("RescaleIntercept", 0)) or 0
    )


def _window(values: npt.NDArray[np.float64], data: "Dataset", window: str | None) -> npt.NDArray[np.float64]:
    """Brightness in [0, 1]: by the named window, else by the file's LUT or window, else by the range of values."""
    from pydicom.pixels.processing import apply_voi

    if window and data.get("Modality") == "CT":
        return _linear(values, *WINDOWS[window], exact=False)
    if data.get("VOILUTSequence"):
        bits = int(data.VOILUTSequence[0].LUTDescriptor[2])
        brightness: npt.NDArray[np.float64] = np.clip(apply_voi(values.astype(np.int64), data) / (2.0**bits - 1), 0, 1)
        return brightness
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
    """The item that all frames of an enhanced file share; empty if there is none."""
    groups = data.get("SharedFunctionalGroupsSequence") or [{}]
    return (groups[0].get(name) or [{}])[0]


def _first(value: Any) -> float | None:
    """The first value of a tag; a file with several windows has its default first."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float | str) else value[0])


def _code(data: "Dataset", name: str) -> str:
    value = data.get(name)
    return value.strip().upper() if isinstance(value, str) else ""


def _view(data: "Dataset") -> str:
    """Side and view, from closed lists only: free text could contain a name."""
    side = SIDES.get(_code(data, "ImageLaterality")) or SIDES.get(_code(data, "Laterality")) or ""
    view = _code(data, "ViewPosition")
    return ", ".join(filter(None, (side, view if view in VIEWS else "")))


def _patient(data: "Dataset", salt: bytes) -> str:
    identity = str(data.get("PatientID") or "").strip() or str(data.get("PatientName") or "").strip()
    return pseudonym(identity, salt) if identity else ""


def pseudonym(text: str, salt: bytes) -> str:
    """Twelve hex digits in place of a text, which cannot be reversed without the salt."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), key=salt, digest_size=6).hexdigest()
