"""Files that are called images and are none: what they are, by their content, and what to do."""

import re
import zlib

HEAD_BYTES = 4096  # of a file, which show its kind
IMAGE_STARTS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"BM",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)

_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AS_PNG = "save it as PNG or JPEG"
_SHORT_LFS = b"version https://git-lfs"
_BEGINNINGS = (
    (b"%PDF", "a PDF document, not an image: save the page or the image in it as PNG"),
    (b"%!PS", f"a PostScript file, not an image: {_AS_PNG}"),
    (b"\x93NUMPY", f"a NumPy array (.npy), not an image: {_AS_PNG}"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, not an image: save each image in it as PNG"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file, not an image: save each image in it as PNG"),
    (b"NRRD", "an NRRD volume: convert it to NIfTI or DICOM, or save its slices as PNG"),
    (b"ObjectType = Image", "a MetaImage volume: convert it to NIfTI or DICOM, or save its slices as PNG"),
    (b"PAR1", "a Parquet table, not an image: prepare the table itself"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive, not an image: unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive, not an image: unpack it"),
    (b"BZh", "a bzip2 archive, not an image: unpack it"),
    (b"\xfd7zXZ\0", "an xz archive, not an image: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive, not an image: unpack it"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video, not an image: save the frame of the question as PNG"),
    (b"\0\0\x01\xba", "an MPEG video, not an image: save the frame of the question as PNG"),
    (b"\xff\x0a", f"a JPEG XL image, which is not read: {_AS_PNG}"),
    (b"\0\0\0\x0cJXL ", f"a JPEG XL image, which is not read: {_AS_PNG}"),
    (b"8BPS", f"a Photoshop file, which is not read: {_AS_PNG}"),
    (b"\0\0\x01\0", f"a Windows icon, which is not read: {_AS_PNG}"),
    (b"\0\x05\x16\x07", "a macOS file of attributes, not the image: leave out the files whose names begin with ._"),
    (b"\xd0\xcf\x11\xe0", "an Office document, not an image: save the image in it as PNG"),
    (b"SQLite format 3", "an SQLite database, not an image: save each image in it as PNG"),
    (b"/annex/objects/", "a git-annex pointer: run git annex get to get the image"),
)
_IN_ZIP = (
    (b".npy", "a NumPy archive (.npz), not an image: save each image in it as PNG"),
    (b"word/", "a Word document, not an image: save the image in it as PNG"),
    (b"ppt/", "a PowerPoint document, not an image: save the image in it as PNG"),
    (b"xl/", "an Excel workbook, not an image: save the image in it as PNG"),
    (b"data.pkl", "a PyTorch file, not an image: save each image in it as PNG"),
)
_MARKUP = (
    (rb"<svg\b", f"an SVG drawing, which is not read: {_AS_PNG}"),
    (
        rb"<!doctype html|<html|<head\b|<body\b",
        "an HTML page, not the image: log in and download the image again",
    ),
    (rb"<\?xml|<error\b", "an XML document, not the image: download the image again"),
)


def describe(head: bytes) -> str:
    """What a file without a readable image is, and what to do; "" if its content is not recognized.

    Args:
        head: the first HEAD_BYTES bytes of the file.
    """
    if not head:
        return "an empty file: copy it again from its source"
    if not head.strip(b"\0"):
        return "a file of zero bytes only, as broken copies leave them: copy it again from its source"
    if head[:2] == b"\x1f\x8b":
        return _describe_gzip(head)
    if is_nifti(head):
        return "a NIfTI volume: lowmed data prepare takes slices of it"
    if head[:4] == b"PK\3\4":
        known = (text for mark, text in _IN_ZIP if mark in head)
        return next(known, "a zip archive, not an image: unpack it, or name it with --images")
    if head[257:262] == b"ustar":
        return "a tar archive, not an image: unpack it"
    if head[128:132] == b"DICM":
        return "a DICOM file: lowmed data prepare reads it"
    if head[4:8] == b"ftyp":
        return _describe_media(head)
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WAVE"):
        return "an AVI video or a sound, not an image: save the frame of the question as PNG"
    known = (text for mark, text in _BEGINNINGS if head.startswith(mark))
    return next(known, "") or _describe_text(head)


def begins_as_image(head: bytes) -> bool:
    """Whether a file begins as those of common image formats do."""
    return head.startswith(IMAGE_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_nifti(head: bytes) -> bool:
    """Whether the bytes begin as a NIfTI file does, unpacked if they are gzip."""
    header = unpacked(head) if head[:2] == b"\x1f\x8b" else head
    return header[344:348] in (b"n+1\0", b"ni1\0") or header[4:8] in (b"n+2\0", b"ni2\0")


def unpacked(head: bytes) -> bytes:
    """The first bytes of a gzip file, unpacked."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _describe_gzip(head: bytes) -> str:
    inner = unpacked(head)
    if is_nifti(inner):
        return describe(inner)
    if inner[257:262] == b"ustar":
        return "a packed tar archive, not an image: unpack it"
    return "a gzip file, not an image: unpack it"


def _describe_media(head: bytes) -> str:
    brands = {head[8:12]} | {head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), 64), 4)}
    if brands & {b"avif", b"avis"}:
        return f"an AVIF image, which is not read: {_AS_PNG}"
    if brands & set(_HEIF):
        return f"a HEIC image, as phones write, which is not read: {_AS_PNG}"
    return "an MP4 or QuickTime video, not an image: save the frame of the question as PNG"


def _describe_text(head: bytes) -> str:
    text = _text(head)
    start = text.lstrip("\ufeff \t\r\n").encode(errors="replace")
    if not start:
        return ""
    if start.startswith(_SHORT_LFS) or (len(start) > 7 and _SHORT_LFS.startswith(start)):
        return "a Git LFS pointer: run git lfs pull to get the image"
    if b"/annex/objects/" in start[:300]:
        return "a git-annex pointer: run git annex get to get the image"
    if start.startswith(b"<"):
        lowered = start.lower()
        return next((what for mark, what in _MARKUP if re.search(mark, lowered)), "a markup document, not an image")
    if start.startswith((b"data:image/", b"iVBORw0KGgo", b"/9j/")):
        return "an image as base64 text: decode it into a file, or put the text into the table"
    if re.match(rb'[{\[]\s*["{\[\]}0-9]', start):
        return "a JSON text, not an image: name the image itself"
    return "a text, not an image: name the image itself"


def _text(head: bytes) -> str:
    """The bytes as text; "" if they are none."""
    coding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = head.decode(coding, errors="surrogateescape" if coding == "utf-8" else "replace")
    return "" if re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]", text) else text
