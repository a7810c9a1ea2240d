"""A row on its way into a data set: its texts, its location, and its images before they are opened."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from lowmed.data.image.files import inside, locate
from lowmed.data.ingest.boxes import BoxUnit
from lowmed.data.ingest.moved_images import MovedImages, is_elsewhere
from lowmed.errors import DataError
from lowmed.sample import Kind, Turns

MAX_FILE_BYTES = 2**30  # no usable image needs a larger file
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class RowLocation:
    """The file by the name that its source uses, and the line, row or item in it."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file in a folder; its name is relative to that folder."""

    folder: Path
    name: str

    def read(self) -> bytes:
        """The bytes of the file.

        Raises:
            DataError: it is missing, outside the folder, empty or too large.
        """
        path = locate(self.folder, self.name)
        _check_bytes(path.stat().st_size, self.name)
        return path.read_bytes()


@dataclass(frozen=True, slots=True)
class ZipMember:
    """An image in a zip archive, which is read in place and never unpacked."""

    archive: Path
    name: str

    def read(self) -> bytes:
        """The bytes of the member.

        Raises:
            DataError: it is missing, damaged, encrypted, empty or too large.
        """
        inside(self.name)
        archive, members = _open_archive(self.archive)
        member = members.get(self.name)
        if member is None:
            raise DataError("the archive does not contain the image", self.name, f"look into {self.archive.name}")
        try:
            _check_bytes(archive.getinfo(member).file_size, self.name)
            return archive.read(member)
        except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, NotImplementedError) as error:
            what = f"the image cannot be read from the archive ({type(error).__name__})"
            raise DataError(what, self.name, f"copy {self.archive.name} again") from error


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image that came with its row; equal names mean equal images."""

    name: str
    content: bytes

    def read(self) -> bytes:
        """The bytes."""
        return self.content


@dataclass(frozen=True, slots=True)
class ImageStack:
    """Slices of a series, which are stored as one image."""

    slices: tuple[ImageFile, ...]

    @property
    def name(self) -> str:
        """The name of the first slice."""
        return self.slices[0].name


ImageSource = ImageFile | ZipMember | ImageBytes | ImageStack


@dataclass(frozen=True, slots=True)
class RawSample:
    """The fields of a Sample before import.

    `id` and `group` are those of the source; import replaces them with pseudonyms if they may identify a patient.
    """

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
    unit: str = ""
    lower: str = ""
    upper: str = ""
    strata: tuple[tuple[str, str], ...] = ()
    source: str = ""
    answer_is_modality: bool = False  # the answer is the modality in the image's own DICOM tags
    history: Turns = ()
    accepted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was changed or left out, for the user
    boxes: BoxUnit | None = None  # unit of boxes in question and answer
    conversation: str = ""  # equal for all turns of a conversation, which are one group even without an image


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row cannot be used."""

    reason: str


Entry = tuple[RowLocation, RawSample | Rejection]


def read_rows(rows: Iterable[tuple[RowLocation, Row]], read: Callable[[Row], RawSample]) -> Iterator[Entry]:
    """Convert rows one by one; a ValueError of `read` becomes a Rejection with its text."""
    for location, row in rows:
        try:
            yield location, read(row)
        except ValueError as error:
            yield location, Rejection(str(error))


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """The folder or zip archive with the images of a table. A cell may also contain the image.

    If the user `named` it, absolute paths and addresses in the table lead to the files in it with the same last parts.
    """

    path: Path
    named: bool = False
    moved: MovedImages = field(default_factory=MovedImages, compare=False)

    def image(self, cell: Any, owner: str) -> ImageFile | ZipMember | ImageBytes:
        """The image that a cell names or holds; a named image need not exist.

        Args:
            cell: a file name, or the `{"path": ..., "bytes": ...}` of the `datasets` library.
            owner: names the row, for an image without a file name.

        Raises:
            ValueError: the cell holds no image, or one elsewhere.
            DataError: two different paths or addresses lead to the same file.
        """
        name = cell.get("path") if isinstance(cell, dict) else cell
        content = cell.get("bytes") if isinstance(cell, dict) else None
        if isinstance(content, bytes) and content:
            return ImageBytes(f"{owner}{PurePosixPath(str(name or '')).suffix}", content)
        if not isinstance(name, str) or not name.strip():
            raise ValueError("no image")
        name = name.strip()
        zipped = self.path.suffix.lower() == ".zip"
        if is_elsewhere(name):
            exists = partial(_is_member, self.path) if zipped else partial(_is_file_in, self.path)
            within = None if zipped else _relative(self.path, name)
            name = within or self.moved.find(name, exists, self.path if self.named else None)
        return ZipMember(self.path, name) if zipped else ImageFile(self.path, name)


def image_root(folder: Path, *names: str) -> ImageRoot:
    """The first of these folders or archives that exists inside `folder`, else the folder itself."""
    return ImageRoot(next((folder / name for name in names if (folder / name).exists()), folder))


def _relative(folder: Path, name: str) -> str | None:
    """An absolute path inside the folder, relative to it."""
    absolute = folder.absolute()
    return str(PurePosixPath(name).relative_to(absolute)) if PurePosixPath(name).is_relative_to(absolute) else None


def _is_file_in(folder: Path, name: str) -> bool:
    try:
        return locate(folder, name).is_file()
    except DataError:
        return False


def _is_member(archive: Path, name: str) -> bool:
    try:
        inside(_open_archive(archive)[1].get(name, ".."))
    except DataError:
        return False
    return True


@lru_cache(maxsize=8)
def _open_archive(path: Path) -> tuple[zipfile.ZipFile, dict[str, str]]:
    """The open archive, and its members by name, with and without their top folder."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"the archive cannot be read ({error})", str(path), "copy it again") from error
    members: dict[str, str] = {}
    for name in archive.namelist():
        for alias in (name, "/".join(PurePosixPath(name).parts[1:])):
            members.setdefault(alias, name)
    return archive, members


def _check_bytes(size: int, name: str) -> None:
    if size == 0:
        raise DataError("the image file is empty", name, "copy it again from its source")
    if size > MAX_FILE_BYTES:
        raise DataError("the image file is over 1 GiB", name, "crop it to the region that the question is about")
