"""Images that a table names by paths of another machine, or by web addresses: find them in the folder of `--images`."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from lowmed.errors import DataError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_MOVED = (
    "the image reference is an absolute path outside the data folder: name the folder that now holds the images with "
    "--images FOLDER"
)
_ADDRESSED = (
    "the image is a web address, and nothing is downloaded: download the images, and name their folder with "
    "--images FOLDER"
)
_NOT_THERE = "the folder of --images holds no file with the last parts of this absolute path: name another folder"
_NOT_DOWNLOADED = (
    "the image is a web address, nothing is downloaded, and the folder of --images holds no file with its last parts"
)


def is_elsewhere(name: str) -> bool:
    """Whether an image is named by an absolute path or an address."""
    return bool(_ADDRESS.match(name) or _DRIVE.match(name)) or name.startswith(("/", "\\\\", "~/"))


@dataclass(slots=True)
class MovedImages:
    """The files that such names were resolved to, and the name of each, so that two names never share a file."""

    names: dict[str, str] = field(default_factory=dict)

    def find(self, name: str, exists: Callable[[str], bool], folder: Path | None) -> str:
        """The file with the most last parts of the name, relative to the folder of the images.

        Args:
            name: the absolute path or address.
            exists: whether the folder or archive of the images holds a file.
            folder: where the images are, as `--images` names it; None without `--images`.

        Raises:
            ValueError: there is no such file, or no folder to search.
            DataError: an earlier, different name led to the same file.
        """
        address = bool(_ADDRESS.match(name)) and not name.startswith("file:")
        if folder is None:
            raise ValueError(_ADDRESSED if address else _MOVED)
        file = next((tail for tail in _tails(name) if exists(tail)), None)
        if file is None:
            raise ValueError(_NOT_DOWNLOADED if address else _NOT_THERE)
        if self.names.setdefault(file, name) != name:
            raise DataError(
                f"two different images of the table would both be `{file}`",
                f"{self.names[file]}\nand {name}, in {folder}",
                "name a folder with the folders of these paths as --images, or write relative names into the table",
            )
        return file


def _tails(name: str) -> Iterator[str]:
    """The last parts of a name, longest first; none if it leads upwards."""
    path = unquote(urlsplit(name).path) if _ADDRESS.match(name) else name
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part.strip("/")]
    if ".." in parts or "\0" in name:
        return
    parts = parts[1:] if _DRIVE.match(name) else parts
    yield from ("/".join(parts[start:]) for start in range(len(parts)))
