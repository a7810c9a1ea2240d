"""Store an image of a source: resize it once, and keep its pixels without any metadata."""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import xxhash
from PIL import Image

from lowmed.data.image import mask_text
from lowmed.data.image.blank import is_blank
from lowmed.data.image.files import Frames
from lowmed.data.image.montage import montage
from lowmed.data.image.nifti import Plane
from lowmed.data.image.policy import PixelPolicy, errors_naming, fit, one_channel
from lowmed.data.image.read import Selection, read_images
from lowmed.data.ingest.raw_sample import ImageSource, ImageStack

FOLDER = "images"
COMPRESS_LEVEL = 3  # of zlib: a third of the default's time on grey images, and no larger
RULES_VERSION = 2  # of all code here that determines a stored pixel
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageStoreSettings:
    """How images are stored: pixel policy, frames, CT window, salt of pseudonyms, plane, whether text is covered."""

    policy: PixelPolicy
    frames: Frames = "first"
    window: str | None = None
    salt: bytes = field(default=b"", repr=False)
    plane: Plane = "axial"
    mask_text: bool = False

    @property
    def digest(self) -> str:
        """Changes with everything that changes a stored image or its record."""
        settings = f"{RULES_VERSION} {self.policy} {self.frames} {self.window} {self.plane}".encode()
        settings += f" {mask_text.RULES}".encode() if self.mask_text else b""
        return hashlib.blake2b(settings, key=self.salt[:64], digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The record of a stored image file.

    Attributes:
        file: SHA-256 of the source's file.
        images: references of the stored frames.
        pixels: digest of each frame's pixels before it was resized, after text was covered.
        sizes: width and height of each frame in pixels, before it was resized.
        modality: from DICOM tags, else "".
        view: from DICOM tags, else "".
        patient: pseudonym of the DICOM patient, else "".
        blank: for each stored frame, whether it shows one value, or nearly.
        unused: frames of the file that no stored image shows.
        masked: boxes of covered text in each frame, in its original pixels; empty if no text was searched.
    """

    file: str
    images: tuple[str, ...]
    pixels: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    modality: str = ""
    view: str = ""
    patient: str = ""
    blank: tuple[bool, ...] = ()
    unused: int = 0
    masked: tuple[tuple[mask_text.Box, ...], ...] = ()

    @property
    def record(self) -> Record:
        """The record as a JSON object; without `masked` if no text was searched."""
        return {name: value for name, value in asdict(self).items() if name != "masked" or value}


def store_file(
    image: ImageSource,
    settings: ImageStoreSettings,
    folder: Path,
    known: Mapping[str, tuple[StoredFile, Path]],
    digest: str | None = None,
) -> StoredFile:
    """Store the frames of an image, or link the frames that an earlier run stored.

    Args:
        image: the image.
        settings: how to store it.
        folder: the data set's folder, which contains `images/`.
        known: files that earlier runs stored, by digest, and the folder that contains them.
        digest: that of the file, if it is known without reading it.

    Raises:
        DataError: the image is missing, damaged or of an unsupported size, or its decoder is not installed.
    """
    if digest and digest in known and _link(*known[digest], folder):
        return known[digest][0]
    contents = [part.read() for part in (image.slices if isinstance(image, ImageStack) else (image,))]
    file = hashlib.sha256(b"".join(contents)).hexdigest()
    if file in known and _link(*known[file], folder):
        return known[file][0]
    selection = Selection(settings.frames, settings.window, settings.plane)
    parts = [read_images(content, image.name, selection, settings.salt) for content in contents]
    decoded, read = parts[0], [frame for part in parts for frame in part.images]
    with errors_naming(image.name):
        frames = [one_channel(frame) for frame in ([montage(read)] if len(parts) > 1 else read)]
    masked: tuple[tuple[mask_text.Box, ...], ...] = ()
    if settings.mask_text:  # before the digest, so that other masks are other images to a run
        covered = [mask_text.mask_text(frame) for frame in frames]
        frames, masked = [frame for frame, _ in covered], tuple(boxes for _, boxes in covered)
    stored = [fit(frame, settings.policy, image.name) for frame in frames]
    return StoredFile(
        file,
        tuple(_write(each, folder) for each in stored),
        tuple(pixel_digest(frame) for frame in frames),
        tuple(frame.size for frame in frames),
        decoded.modality,
        decoded.view,
        decoded.patient,
        tuple(map(is_blank, stored)),
        sum(part.unused for part in parts),
        masked,
    )


def store_image(image: Image.Image, name: str, policy: PixelPolicy, folder: Path) -> StoredFile:
    """Store an image that is in no file.

    Args:
        image: the image.
        name: its name in errors.
        policy: pixel policy of the stored image.
        folder: the data set's folder, which contains `images/`.

    Raises:
        DataError: the image has an unsupported size.
    """
    content, stored = png(image), fit(image, policy, name)
    return StoredFile(
        hashlib.sha256(content).hexdigest(),
        (_write(stored, folder),),
        (pixel_digest(image),),
        (image.size,),
        blank=(is_blank(stored),),
    )


def png(image: Image.Image) -> bytes:
    """The image as a PNG file without metadata."""
    bare = Image.frombytes(image.mode, image.size, image.tobytes())  # a new image, which carries no metadata
    file = BytesIO()
    bare.save(file, "PNG", compress_level=COMPRESS_LEVEL)
    return file.getvalue()


def pixel_digest(image: Image.Image) -> str:
    """128 bits of mode, size and pixels; not cryptographic, because a forged digest would gain nothing."""
    digest = xxhash.xxh3_128(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _write(image: Image.Image, folder: Path) -> str:
    content = png(image)
    reference = f"{FOLDER}/{hashlib.sha256(content).hexdigest()[:20]}.png"
    path = folder / reference
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{id(image)}")
        temporary.write_bytes(content)
        temporary.replace(path)
    return reference


def _link(stored: StoredFile, earlier: Path, folder: Path) -> bool:
    """Link all frames from an earlier run's folder, or copy them from another disk; False if one is missing there."""
    for reference in stored.images:
        if (folder / reference).exists():
            continue
        try:
            os.link(earlier / reference, folder / reference)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno != errno.EXDEV:
                return False
            temporary = (folder / reference).with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            shutil.copyfile(earlier / reference, temporary)
            temporary.replace(folder / reference)
    return True
