"""Scan every image of a data set: whether it opens, its size, perceptual hash, text and metadata."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from lowmed.data.audit.burned_in_text import Box, text_rows
from lowmed.data.audit.near_duplicates import perceptual_hash
from lowmed.data.audit.phi_patterns import phi_in_file
from lowmed.data.image.blank import is_blank
from lowmed.data.image.files import decode, locate
from lowmed.data.image.policy import PixelPolicy, one_channel, prepare
from lowmed.data.ingest.image_store import pixel_digest
from lowmed.errors import DataError
from lowmed.progress import Advance

IN_FLIGHT = 64
LARGEST = PixelPolicy(256)  # text is searched, and hashes are computed, at the default size of training


@dataclass(frozen=True, slots=True)
class ImageScan:
    """The scan of an image file; if it does not open, `problem` has the reason and the rest is empty.

    `file` and `pixels` are the digests that `lowmed data prepare` would record of it.
    """

    reference: str
    problem: str = ""
    file: str = ""
    pixels: str = ""
    size: tuple[int, int] = (0, 0)
    phash: int = 0
    text: tuple[Box, ...] = ()
    blank: bool = False
    metadata: tuple[str, ...] = ()


def scan(folder: Path, reference: str) -> ImageScan:
    """Scan one image of a folder."""
    try:
        content = locate(folder, reference).read_bytes()
        image = decode(BytesIO(content), reference)
        prepared = prepare(image, LARGEST, reference)
    except DataError as error:
        return ImageScan(reference, error.what)
    return ImageScan(
        reference,
        file=hashlib.sha256(content).hexdigest(),
        pixels=pixel_digest(one_channel(image)),
        size=image.size,
        phash=perceptual_hash(prepared),
        text=tuple(text_rows(prepared)),
        blank=is_blank(prepared),
        metadata=phi_in_file(content),
    )


def scan_all(
    folder: Path, references: Iterable[str], advance: Advance = lambda done, note: None
) -> Iterator[ImageScan]:
    """Scan all images in order, on all cores, with a bounded number in memory."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = []
        done = 0
        for reference in references:
            waiting.append(pool.submit(scan, folder, reference))
            if len(waiting) > IN_FLIGHT:
                yield waiting.pop(0).result()
                advance(done := done + 1, "")
        for job in waiting:
            yield job.result()
            advance(done := done + 1, "")
