"""The images in any file that lowmed reads, recognized by content: DICOM, NIfTI, or a common image format."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath

from lowmed.data.image import dicom, nifti, other_files
from lowmed.data.image.dicom import DicomImage
from lowmed.data.image.files import Frames, frame_numbers, read_frames
from lowmed.data.image.montage import montage
from lowmed.data.image.policy import errors_naming
from lowmed.errors import DataError


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken from a file with several images, and how brightness is computed.

    Attributes:
        frames: the first, the middle, all frames or slices, or a montage of them.
        window: a name of `dicom.WINDOWS` for CT; None for the file's own.
        plane: the plane of a volume's slices.
    """

    frames: Frames = "first"
    window: str | None = None
    plane: nifti.Plane = "axial"


def read_images(content: bytes, where: str, selection: Selection, salt: bytes) -> DicomImage:
    """The selected images of a file, and what its tags say.

    Args:
        content: the file.
        where: names the file in errors.
        selection: which images to take.
        salt: salt of the patient's pseudonym.

    Raises:
        DataError: the file is not an image, is damaged, has an unsupported size, or its decoder is not installed.
    """
    frames, head = selection.frames, content[: other_files.HEAD_BYTES]
    if _is_dicom(head, where):
        result = dicom.read(content, where, frames=frames, window=selection.window, salt=salt)
    elif other_files.is_nifti(head):
        slices, count = nifti.read(
            content,
            where,
            choose=lambda count: frame_numbers(count, frames),
            plane=selection.plane,
            window=selection.window,
        )
        result = DicomImage(tuple(slices), "", "", "", count)
    else:
        images, count = read_frames(BytesIO(content), where, frames)
        result = DicomImage(tuple(images), "", "", "", count)
    if frames != "montage":
        return result
    with errors_naming(where):
        sheet = montage(result.images)
    return DicomImage((sheet,), result.modality, result.view, result.patient, result.frames, len(result.images))


def is_volume(head: bytes, name: str) -> bool:
    """Whether a file with these first bytes is DICOM or NIfTI, of which a question may name one with several images.

    Raises:
        DataError: as `read_images` for a file of another kind.
    """
    return _is_dicom(head, name) or other_files.is_nifti(head)


def _is_dicom(head: bytes, where: str) -> bool:
    """Whether to read the file as DICOM.

    Raises:
        DataError: its name is that of a DICOM file, and its content is known to be another kind.
    """
    if dicom.is_dicom(head):
        return True
    if PurePath(where).suffix.lower() not in dicom.SUFFIXES or other_files.begins_as_image(head):
        return False
    if other_files.is_nifti(head):
        return False
    what = other_files.describe(head)
    if what:
        raise DataError(what, where, "replace the file by the image, or leave its rows out")
    return True
