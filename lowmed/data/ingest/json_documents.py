"""Folders of documents: a JSON file for each, and its image under the same name in another folder."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed.answer import fields
from lowmed.data.image.files import SUFFIXES
from lowmed.data.ingest.raw_sample import ImageFile, RowLocation

MAX_BYTES = 16 * 2**20  # of the JSON file of one document


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """A JSON file, and the images of its name, of which there should be one."""

    base: Path
    split: str
    name: str
    file: Path
    images: tuple[str, ...]

    @property
    def image(self) -> ImageFile:
        """Its image.

        Raises:
            ValueError: there is none, or there are several.
        """
        if len(self.images) != 1:
            several = "several images have" if self.images else "no image has"
            raise ValueError(f"{several} the name of the file")
        return ImageFile(self.base, self.images[0])

    def read(self) -> dict[str, Any]:
        """The object in the file.

        Raises:
            ValueError: the file is too large, not UTF-8, not JSON, or no object.
        """
        if self.file.stat().st_size > MAX_BYTES:
            raise ValueError(f"the file is larger than {MAX_BYTES // 2**20} MiB")
        try:
            content = json.loads(self.file.read_bytes().decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise ValueError("the file is not UTF-8") from None
        except (ValueError, RecursionError):
            raise ValueError("the file is not JSON") from None
        if not isinstance(content, dict):
            raise ValueError("the file holds no JSON object")
        return content


@dataclass(frozen=True, slots=True)
class DocumentFolders:
    """Where the documents of a data set are.

    Attributes:
        parts: folder of a part -> its split.
        files: folder of the JSON files in it.
        suffix: of a JSON file.
        images: folder of the images in it.
    """

    parts: Mapping[str, str]
    files: str
    suffix: str
    images: str

    def base(self, folder: Path, top: str) -> Path | None:
        """The folder with the parts: this one, or `top` in it; None if neither has a JSON file."""
        bases = (folder, folder / top)
        return next((base for base in bases if any(True for part in self.parts for _ in self._files(base, part))), None)

    def documents(self, base: Path) -> list[tuple[RowLocation, JsonDocument]]:
        """The documents of all parts, sorted by name."""
        rows = []
        for part, split in self.parts.items():
            images = self._images(base, part)
            for file in self._files(base, part):
                names = tuple(images.get(file.stem, ()))
                where = RowLocation(str(file.relative_to(base)))
                rows.append((where, JsonDocument(base, split, file.stem, file, names)))
        return rows

    def unused_images(self, base: Path) -> tuple[str, ...]:
        """The images without a JSON file."""
        unused: list[str] = []
        for part in self.parts:
            named = {file.stem for file in self._files(base, part)}
            unused += [name for stem, names in self._images(base, part).items() if stem not in named for name in names]
        return tuple(unused)

    def _files(self, base: Path, part: str) -> Iterator[Path]:
        yield from (file for file in _visible(base / part / self.files) if file.suffix.lower() == self.suffix)

    def _images(self, base: Path, part: str) -> dict[str, list[str]]:
        by_stem: dict[str, list[str]] = defaultdict(list)
        for file in _visible(base / part / self.images):
            if file.suffix.lower() in SUFFIXES:
                by_stem[file.stem].append(str(file.relative_to(base)))
        return by_stem


def gold_json(value: Mapping[str, Any]) -> str:
    """A gold answer as JSON text.

    Raises:
        ValueError: it has no filled field, two of its keys have the same normal form, or it is nested too deeply.
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ValueError("the gold answer is nested too deeply") from None
    document, problem = fields.parse(text)
    if document is None:
        raise ValueError(f"the gold answer cannot be used: {problem}")
    if not document.leaves:
        raise ValueError("the gold answer has no filled field")
    return text


def _visible(folder: Path) -> list[Path]:
    """The files of a folder, sorted, without hidden ones."""
    return sorted(file for file in folder.glob("*") if file.is_file() and not file.name.startswith("."))
