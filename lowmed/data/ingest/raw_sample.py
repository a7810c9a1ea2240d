"""A row on its way into a data set: what it says, where it stands, and its images, still to be opened."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from lowmed.data.image.files import inside, locate
from lowmed.errors import DataError
from lowmed.sample import Kind

MAX_FILE_BYTES = 2**30  # an image's file beyond this is no image that a model could use
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class RowLocation:
    """The file as its source calls it, and the line, row or item in it."""

    file: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file in a folder; its name is relative to that folder."""

    folder: Path
    name: str

    def read(self) -> bytes:
        """The bytes of the file.

        Raises:
            DataError: it is missing, leads out of the folder, is empty or too large.
        """
        path = locate(self.folder, self.name)
        _check_bytes(path.stat().st_size, self.name)
        return path.read_bytes()


@dataclass(frozen=True, slots=True)
class ZipMember:
    """An image in a zip archive, which is read in place: nothing is ever unpacked."""

    archive: Path
    name: str

    def read(self) -> bytes:
        """The bytes of the member.

        Raises:
            DataError: there is none of that name, it is damaged, encrypted, empty or too large.
        """
        inside(self.name)
        opened, members = _opened(self.archive)
        member = members.get(self.name)
        if member is None:
            raise DataError("the image is not in the archive", self.name, f"look into {self.archive.name}")
        try:
            _check_bytes(opened.getinfo(member).file_size, self.name)
            return opened.read(member)
        except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, NotImplementedError) as error:
            told = f"the image cannot be read from the archive ({type(error).__name__})"
            raise DataError(told, self.name, f"copy {self.archive.name} again") from error


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image that came with its row; equal names mean equal images."""

    name: str
    content: bytes

    def read(self) -> bytes:
        """The bytes."""
        return self.content


ImageSource = ImageFile | ZipMember | ImageBytes


@dataclass(frozen=True, slots=True)
class RawSample:
    """What a Sample will hold, with `group` and `id` as the source has them: neither is copied as it stands."""

    question: str
    answer: str
    kind: Kind
    images: tuple[ImageSource, ...] = ()
    split: str = "train"
    id: str = ""
    group: str = ""
    options: tuple[str, ...] = ()
    explanation: str = ""
    modality: str = ""
    topic: str = ""
    source: str = ""
    asks_modality: bool = False  # the answer is what the image's own tags say


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row cannot be used."""

    reason: str


Entry = tuple[RowLocation, RawSample | Rejection]


def read_rows(rows: Iterable[tuple[RowLocation, Row]], read: Callable[[Row], RawSample]) -> Iterator[Entry]:
    """Read rows one by one; a row that `read` refuses with a ValueError becomes a Refusal."""
    for where, row in rows:
        try:
            yield where, read(row)
        except ValueError as error:
            yield where, Rejection(str(error))


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """Where the images of a table are: in a folder, in a zip archive, or in the table's own cells."""

    place: Path

    def picture(self, cell: Any, owner: str) -> ImageSource:
        """The image that a cell names, which need not exist, or holds; `owner` says whose it is.

        Raises:
            ValueError: the cell does neither.
        """
        name = cell.get("path") if isinstance(cell, dict) else cell
        held = cell.get("bytes") if isinstance(cell, dict) else None
        if isinstance(held, bytes) and held:
            return ImageBytes(f"{owner}{PurePosixPath(str(name or '')).suffix}", held)
        if not isinstance(name, str) or not name.strip():
            raise ValueError("no image")
        name = name.strip()
        return ZipMember(self.place, name) if self.place.suffix == ".zip" else ImageFile(self.place, name)


def image_root(folder: Path, *names: str) -> ImageRoot:
    """The first of these folders or archives that exists inside `folder`, else the folder itself."""
    return ImageRoot(next((folder / name for name in names if (folder / name).exists()), folder))


@lru_cache(maxsize=8)
def _opened(archive: Path) -> tuple[zipfile.ZipFile, dict[str, str]]:
    """The open archive, and its members by name, with and without the folder that all may lie in."""
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"the archive cannot be read ({error})", str(archive), "copy it again") from error
    members: dict[str, str] = {}
    for name in opened.namelist():
        for shown in (name, "/".join(PurePosixPath(name).parts[1:])):
            members.setdefault(shown, name)
    return opened, members


def _check_bytes(size: int, name: str) -> None:
    if size == 0:
        raise DataError("the image file is empty", name, "copy it again from where it came")
    if size > MAX_FILE_BYTES:
        raise DataError("the image file is over 1 GiB", name, "cut out what the question is about")
