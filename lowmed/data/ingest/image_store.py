"""One image of a source to the files that a data set keeps: resized once, pixels and nothing else."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import xxhash
from PIL import Image

from lowmed.data.image import dicom
from lowmed.data.image.files import Frames, read_frames
from lowmed.data.image.policy import PixelPolicy, errors_naming, fit, one_channel
from lowmed.data.ingest.raw_sample import ImageSource

FOLDER = "images"
COMPRESS_LEVEL = 3  # of zlib: a third of the default's time on grey films, and no larger
RULES_VERSION = 1  # of everything here that decides a stored pixel
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageStoreSettings:
    """How images are stored: their budget, the frames of a file, the CT window, and the salt of patients' digests."""

    policy: PixelPolicy
    frames: Frames = "first"
    window: str | None = None
    salt: bytes = field(default=b"", repr=False)

    @property
    def digest(self) -> str:
        """Changes with anything that would change a stored image or its record."""
        told = f"{RULES_VERSION} {self.policy} {self.frames} {self.window}".encode()
        return hashlib.blake2b(told, key=self.salt[:64], digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A source's image file once stored: `images` are its frames, as references; sizes in pixels, as they came."""

    file: str
    images: tuple[str, ...]
    pixels: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    modality: str = ""
    view: str = ""
    patient: str = ""

    @property
    def record(self) -> Record:
        """As JSON."""
        return asdict(self)


def store_file(
    image: ImageSource, settings: ImageStoreSettings, folder: Path, known: Mapping[str, tuple[StoredFile, Path]]
) -> StoredFile:
    """Write the frames of an image below `folder`, or link them from where an earlier run wrote the same.

    Raises:
        DataError: the image is missing, damaged, of a size that is not read, or needs what is not installed.
    """
    content = image.read()
    file = hashlib.sha256(content).hexdigest()
    if file in known and _linked(*known[file], folder):
        return known[file][0]
    suffix = Path(image.name).suffix.lower()
    if dicom.is_dicom(content) or suffix in dicom.SUFFIXES:
        film = dicom.read(content, image.name, frames=settings.frames, window=settings.window, salt=settings.salt)
    else:
        film = dicom.DicomImage(tuple(read_frames(BytesIO(content), image.name, settings.frames)), "", "", "")
    with errors_naming(image.name):
        pictures = [one_channel(shown) for shown in film.images]
    images = tuple(_write(fit(shown, settings.policy, image.name), folder) for shown in pictures)
    pixels = tuple(_digest(shown) for shown in pictures)
    sizes = tuple(shown.size for shown in pictures)
    return StoredFile(file, images, pixels, sizes, film.modality, film.view, film.patient)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file that holds pixels and nothing else."""
    bare = Image.frombytes(image.mode, image.size, image.tobytes())  # a new image, which carries no metadata
    written = BytesIO()
    bare.save(written, "PNG", compress_level=COMPRESS_LEVEL)
    return written.getvalue()


def _digest(image: Image.Image) -> str:
    """128 bits of mode, size and pixels; not cryptographic, since nobody gains by forging one."""
    digest = xxhash.xxh3_128(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _write(image: Image.Image, folder: Path) -> str:
    content = png(image)
    reference = f"{FOLDER}/{hashlib.sha256(content).hexdigest()[:20]}.png"
    path = folder / reference
    if not path.exists():
        aside = path.with_name(f"{path.name}.{os.getpid()}-{id(image)}")
        aside.write_bytes(content)
        aside.replace(path)
    return reference


def _linked(stored: StoredFile, earlier: Path, folder: Path) -> bool:
    """Whether all frames of an earlier run are there and now also here."""
    for reference in stored.images:
        if (folder / reference).exists():
            continue
        try:
            os.link(earlier / reference, folder / reference)
        except FileExistsError:
            continue
        except OSError:
            return False
    return True
