"""Image files in folders: locate and decode them, and find those that do not open."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from lowmed.data.image import deep_colour, other_files
from lowmed.data.image.montage import MONTAGE_FRAMES, SPACED_FRAMES, spaced_numbers
from lowmed.data.image.policy import ORIENTATION, apply_orientation, check_shape, errors_naming
from lowmed.errors import DataError

# Formats that Pillow decodes without an external program (it would start Ghostscript for EPS).
FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "WEBP", "GIF", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jp2", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"})

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # TIFF tag and value

Frames = Literal["first", "middle", "spaced", "all", "montage"]
MAX_FRAMES = 256


def require_folder(path: str | None, source: str, expected: str, flag: str = "data.path") -> Path:
    """The folder at `path`, which exists and is not empty.

    Args:
        path: the folder.
        source: the data source, for the error message.
        expected: the files that the folder should contain, for the error message.
        flag: the recipe key or option that sets the path, for the error message.

    Raises:
        DataError: no path is set, or the folder does not exist, is a file, or is empty.
    """
    fix = f"set {flag} to the folder that contains {expected}"
    if path is None:
        raise DataError(f"source `{source}` needs a folder", flag, fix)
    folder = Path(path).expanduser()
    if not folder.exists():
        raise DataError(f"the folder does not exist; looked for {expected} in it", str(folder), fix)
    if not folder.is_dir():
        raise DataError(f"this is a file, not a folder; looked for {expected}", str(folder), fix)
    if not any(folder.iterdir()):
        raise DataError(f"the folder is empty; looked for {expected}", str(folder), fix)
    return folder


def open_in(folder: Path, reference: str) -> Image.Image:
    """The image at `reference`, relative to `folder`, decoded and upright.

    Raises:
        DataError: it is missing, outside the folder, or cannot be decoded.
    """
    return decode(locate(folder, reference), str(folder / reference))


def decode(source: Path | IO[bytes], where: str, *, preview: bool = False) -> Image.Image:
    """The only image in a file, decoded and upright.

    Args:
        source: the file.
        where: names the file in errors.
        preview: decode in low resolution if the format allows; this detects the same damage in less time.

    Raises:
        DataError: the file is empty, damaged, not an image, has several images, or an unsupported size.
    """
    with errors_naming(where), _opened(source, where) as image:
        check_shape(*image.size)
        frames = _count(image)
        if frames > 1:
            raise DataError(
                f"the file contains {frames} images",
                where,
                "save the one of the question as a separate file",
            )
        if preview:
            image.draft("L", (1, 1))
            image.load()
            return _upright(image)
        return _upright(_loaded(image, source))


def read_frames(source: IO[bytes], where: str, which: Frames) -> tuple[list[Image.Image], int]:
    """The selected images of a file, such as a TIFF, decoded and upright, and how many the file contains.

    Args:
        source: the file.
        where: names the file in errors.
        which: the first, the middle, four at equal distances, all, or those of a montage.

    Raises:
        DataError: as `decode`, or more than 256 are selected.
    """
    with errors_naming(where), _opened(source, where) as image:
        frames, count = [], _count(image)
        for number in frame_numbers(count, which):
            image.seek(number)
            check_shape(*image.size)
            loaded = _loaded(image, source)
            frames.append(_upright(loaded.copy() if count > 1 and loaded is image else loaded))
        return frames, count


def frame_numbers(count: int, which: Frames) -> Sequence[int]:
    """The numbers of the selected frames.

    Args:
        count: frames in the file.
        which: the first, the middle, four at equal distances, all, or those of a montage.

    Raises:
        DataError: there is no frame, or more than 256 are selected.
    """
    if count < 1:
        raise DataError("the file contains no frame", "the number of frames", "export it again, or leave it out")
    if which in ("montage", "spaced"):
        return spaced_numbers(count, MONTAGE_FRAMES if which == "montage" else SPACED_FRAMES)
    if which == "all" and count > MAX_FRAMES:
        what = (
            f"the file contains {count} frames; at most {MAX_FRAMES} are read: take --frames middle, spaced or montage"
        )
        raise DataError(what, "the number of frames", "take fewer frames")
    first = count // 2 if which == "middle" else 0
    return range(count) if which == "all" else range(first, first + 1)


@contextmanager
def _opened(source: Path | IO[bytes], where: str) -> Iterator[ImageFile.ImageFile]:
    """The file, opened by Pillow.

    Raises:
        DataError: it is not an image, and what it is instead.
    """
    try:
        image = Image.open(source, formats=FORMATS)
    except UnidentifiedImageError as error:
        head = _head(source)
        what = other_files.describe(head)
        if not what and other_files.begins_as_image(head):
            what = "the image is damaged at its beginning, or of a kind that is not read: save it again, as PNG"
        if not what:
            raise
        raise DataError(what, where, "replace the file by the image, or leave its rows out") from error
    with image:
        yield image


def _head(source: Path | IO[bytes]) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(other_files.HEAD_BYTES)
    source.seek(0)
    return source.read(other_files.HEAD_BYTES)


def _loaded(image: ImageFile.ImageFile, source: Path | IO[bytes]) -> Image.Image:
    """The frame at which the image is: the image itself, or another one in 8 bits if Pillow would drop low bytes."""
    if deep_colour.is_deep(image):
        shown = deep_colour.read(image, source, FORMATS)
        shown.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
        return shown
    image.load()
    return image


def _count(image: Image.Image) -> int:
    """Frames in the file; a camera's JPEG that also contains a preview counts as one."""
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))


def _upright(image: Image.Image) -> Image.Image:
    upright = apply_orientation(image)
    if image.format == "TIFF" and upright.mode == "I;16" and image.getexif().get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return Image.fromarray(65535 - np.asarray(upright))  # Pillow inverts only images of up to 8 bits
    return upright


def image_problems(folder: Path, references: Iterable[str]) -> dict[str, str]:
    """The images that do not open, with the reason."""
    distinct = sorted(set(references))
    with ThreadPoolExecutor() as pool:
        problems = pool.map(partial(_problem, folder), distinct)
        return {reference: problem for reference, problem in zip(distinct, problems, strict=True) if problem}


def file_digests(folder: Path, references: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each image file.

    Raises:
        DataError: an image is missing, or outside the folder.
    """
    return {reference: hashlib.sha256(locate(folder, reference).read_bytes()).hexdigest() for reference in references}


def unused_images(folder: Path, references: Iterable[str]) -> tuple[str, ...]:
    """The image files below `folder` that no reference names, relative to it."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    used = {PurePosixPath(reference) for reference in references}
    return tuple(sorted(str(name) for path in files if (name := PurePosixPath(path.relative_to(folder))) not in used))


def _problem(folder: Path, reference: str) -> str:
    try:
        decode(locate(folder, reference), reference, preview=True)
    except DataError as error:
        return error.what
    return ""


def inside(reference: str) -> PurePosixPath:
    """The reference as a relative path inside its folder.

    Raises:
        DataError: it is absolute, or contains `..`.
    """
    path = PurePosixPath(reference.replace("\\", "/"))
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\0" in reference
        or (path.parts[:1] and path.parts[0].endswith(":"))
    ):
        raise _outside(reference)
    return path


def locate(folder: Path, reference: str) -> Path:
    """The file at `reference`, which is inside `folder` even after symbolic links are resolved.

    Raises:
        DataError: it is missing, or outside the folder.
    """
    path = folder / inside(reference)
    try:
        real = path.resolve()
        is_file = real.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # the name is too long, or the links form a loop
        raise DataError("the image file cannot be reached", reference, "give it a plain, short name") from error
    if not real.is_relative_to(folder.resolve()):
        raise _outside(reference)
    if not is_file:
        raise DataError("the image file does not exist", str(path), "copy it there, or leave its rows out")
    return real


def _outside(reference: str) -> DataError:
    return DataError(
        "the image reference is outside the data folder",
        reference,
        "move the image into the folder and name it relative to the folder",
    )
