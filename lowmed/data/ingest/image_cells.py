"""The images of a table cell: file names, bytes, base64, data URIs, and the structs of the `datasets` library."""

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lowmed.data.image.files import SUFFIXES
from lowmed.data.ingest import cells
from lowmed.data.ingest.raw_sample import ImageBytes, ImageRoot, ImageSource

_DATA_URI = re.compile(r"data:image/([\w.+-]+)(?:;[\w=.-]+)*;base64,", re.IGNORECASE)
# The first characters of PNG, JPEG, GIF, WEBP, TIFF and BMP files in base64.
_BASE64_STARTS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "SUkqA", "TU0AK", "Qk")
_MIN_BASE64 = 60  # no image file is shorter
_CONTENT_KEYS = ("bytes", "base64", "b64", "data", "content")
_NAME_KEYS = ("path", "url", "image_url", "image", "file_name", "filename", "file", "source")


def image_values(cell: Any) -> list[Any]:
    """The images of a cell, each as it stands there.

    Raises:
        ValueError: the cell holds something else.
    """
    if cell is None or isinstance(cell, bytes | Mapping):
        return [cell] if cell else []
    if isinstance(cell, str) and (_DATA_URI.match(cell.lstrip()) or is_base64(cell)):
        return [cell]
    values = [value for value in cells.to_list(cell, ";|") if value not in (None, "", b"", {})]
    if len(values) == 1 and isinstance(values[0], str) and "," in values[0]:
        names = [name.strip() for name in values[0].split(",")]
        return names if all(PurePosixPath(name).suffix.lower() in SUFFIXES for name in names) else values
    return values


def is_base64(text: str) -> bool:
    """Whether a text is an image file in base64."""
    return len(text) >= _MIN_BASE64 and text.lstrip().startswith(_BASE64_STARTS) and "." not in text[:_MIN_BASE64]


class ImageReader:
    """Reads the images of a table's cells.

    A table in VLMEvalKit's form stores an image once; later rows with the same image name the `index` of that row.
    """

    def __init__(self, root: ImageRoot) -> None:
        self.root = root
        self._names: dict[str, str] = {}  # row's id -> name of the image that it holds

    def read(self, cell: Any, owner: str, row_id: str) -> list[ImageSource]:
        """The images of a cell; a named file need not exist.

        Args:
            cell: the cell.
            owner: names the row, for images without a file name.
            row_id: the id of the row.

        Raises:
            ValueError: the cell holds something else, or damaged base64.
        """
        sources = [self._source(value, f"{owner}-{number}") for number, value in enumerate(image_values(cell))]
        if len(sources) == 1 and row_id and isinstance(sources[0], ImageBytes):
            self._names.setdefault(row_id, sources[0].name)
        return sources

    def _source(self, value: Any, owner: str) -> ImageSource:
        suffix = ""
        if isinstance(value, Mapping):
            suffix = PurePosixPath(str(next((value[key] for key in _NAME_KEYS if value.get(key)), ""))).suffix
            value = next((value[key] for key in (*_CONTENT_KEYS, *_NAME_KEYS) if value.get(key)), None)
            if isinstance(value, Mapping):
                return self._source(value, owner)
        if isinstance(value, bytes):
            return ImageBytes(owner + suffix, value)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            raise ValueError("the image cell holds no file name and no image")
        value = value.strip()
        if uri := _DATA_URI.match(value):
            return ImageBytes(f"{owner}.{uri[1]}", _decoded(value[uri.end() :]))
        if is_base64(value):
            return ImageBytes(owner, _decoded(value))
        if value in self._names:
            return ImageBytes(self._names[value], b"")  # the pipeline has the image of that name already
        return self.root.image(value, owner)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the image is not valid base64 ({error})") from error
