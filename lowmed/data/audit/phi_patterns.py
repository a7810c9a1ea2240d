"""Patterns that indicate protected health information: metadata in image files, names and dates in texts."""

import re
import struct
from collections.abc import Iterable
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from lowmed.sample import Sample

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_METADATA_KEYS = ("exif", "xmp", "XML:com.adobe.xmp", "comment", "icc_profile", "photoshop", "iptc")
_TIFF_TEXTS = {269: "document name", 270: "description", 305: "software", 306: "date", 315: "artist", 316: "host"}
_PATTERNS = {
    "a date": re.compile(r"(?<!\d)(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)"),
    "a name as DICOM writes it": re.compile(r"[^\W\d_]{2,}\^[^\W\d_]+"),
    "what looks like first and last name": re.compile(
        r"(?<![^\W_])[A-ZÄÖÜ][a-zäöüß]{2,}[_ ,-]+[A-ZÄÖÜ][a-zäöüß]{2,}(?![^\W_])"
    ),
    "what looks like a patient's number": re.compile(
        r"(?i)(?:pat(?:ient)?|mrn|pid)[-_ ]*(?:id)?[-_ ]*\d{2,}|(?<![0-9a-f])\d{8,}(?![0-9a-f])"
    ),
}


def phi_in_file(content: bytes) -> tuple[str, ...]:
    """The kinds of metadata in an image file, without their content."""
    if content[128:132] == b"DICM":
        return ("DICOM tags",)
    if content.startswith(_PNG):
        return tuple(f"PNG chunk {name.decode('latin-1')}" for name in _chunks(content) if name not in _PIXEL_CHUNKS)
    try:
        with Image.open(BytesIO(content)) as image:
            kinds = [name for name in _METADATA_KEYS if image.info.get(name)]
            kinds += [name for tag, name in _TIFF_TEXTS.items() if tag in image.getexif() and "exif" not in kinds]
            return tuple(dict.fromkeys(kinds))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return ()  # the audit reports such a file as one that does not open


def phi_in_text(text: str) -> str:
    """The kind of text in a path or an id that may identify a patient, or "". A heuristic, for review."""
    return _first_match(text)[0]


def phi_in_histories(samples: Iterable[Sample]) -> dict[str, str]:
    """What may identify a patient in earlier turns: sample and matching text -> its kind. Equal texts count once."""
    first = {text: sample.id for sample in reversed(tuple(samples)) for turn in sample.history for text in turn}
    matches = ((sample_id, *_first_match(text)) for text, sample_id in first.items())
    return {f"history of {sample_id}: {part}": what for sample_id, what, part in matches if what}


def _first_match(text: str) -> tuple[str, str]:
    """Kind and text of the first match."""
    matches = ((what, pattern.search(text)) for what, pattern in _PATTERNS.items())
    return next(((what, match[0]) for what, match in matches if match), ("", ""))


def _chunks(content: bytes) -> list[bytes]:
    """The distinct chunk names of a PNG file, and `trailing bytes` if data follow its end."""
    names, at = [], len(_PNG)
    while at + 8 <= len(content):
        (length,), name = struct.unpack(">I", content[at : at + 4]), content[at + 4 : at + 8]
        names.append(name)
        at += length + 12
        if name == b"IEND":
            break
    return list(dict.fromkeys(names + [b"trailing bytes"] * (at < len(content))))
