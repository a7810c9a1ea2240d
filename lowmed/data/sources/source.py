"""The description of a known data set and how its files are read."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed.data.image.files import require_folder
from lowmed.data.ingest import hub
from lowmed.data.ingest.detect import ImportOptions, RowStream

QUESTION_TOKENS = 20
REFERENCE_TOKENS = 160
Open = Callable[[Path, ImportOptions], RowStream]


@dataclass(frozen=True, slots=True)
class Source:
    """A known data set.

    Attributes:
        name: the name in recipes and on the command line.
        about: its content, in one line.
        size: questions and images, in words.
        kinds: kinds of questions, in words.
        license: the license of questions and images.
        citation: the publication.
        url: the official page.
        files: the files that a local copy must contain.
        open: function that reads a local copy into rows.
        terms: conditions to accept before the download; "" if none.
        hub_id: id of a copy on the Hugging Face hub; "" if there is none.
        hub_files: the files of that copy to download; empty if `datasets` reads it as tables.
        generated: whether the rows are generated, without any file.
        question_tokens: length of the longest questions, for plans before the data are prepared.
        reference_tokens: length of the longest explanations and answers, likewise.
        images: most images of a question, likewise.
    """

    name: str
    about: str
    size: str
    kinds: str
    license: str
    citation: str
    url: str
    files: str
    open: Open
    terms: str = ""
    hub_id: str = ""
    hub_files: tuple[str, ...] = ()
    generated: bool = False
    question_tokens: int = QUESTION_TOKENS
    reference_tokens: int = REFERENCE_TOKENS
    images: int = 1

    def rows(self, path: str | None, options: ImportOptions, *, flag: str = "--path") -> RowStream:
        """Read the rows of a local copy or, if no path is given, of the copy on the hub.

        Args:
            path: the local copy; None to download.
            options: columns, language and format.
            flag: the option that sets the path, for error messages.

        Raises:
            DataError: the local copy does not have the expected files.
            SetupError: the hub is needed and cannot be reached.
        """
        folder = self._local_copy(path, flag)
        return self.open(folder, options) if folder else hub.rows(self.hub_id, self.name, options, self._instead(flag))

    def fingerprint(self, path: str | None, *, flag: str = "--path") -> str:
        """A digest that changes with the source: names, sizes and times of its files.

        The time of the last change of a file (ctime) is included: an edit may keep size and modification time.

        Args:
            path: the local copy; None to download.
            flag: the option that sets the path, for error messages.

        Raises:
            DataError: the local copy is missing or empty.
            SetupError: the hub is needed and cannot be reached.
        """
        folder = self._local_copy(path, flag)
        if folder is None:
            parts = hub.fingerprints(self.hub_id, self._instead(flag))
        elif path is None and self.hub_files:
            parts = [_describe_file(folder, folder / name) for name in self.hub_files]
        else:
            parts = [_describe_file(folder, file) for file in _files(folder)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _local_copy(self, path: str | None, flag: str) -> Path | None:
        """The file or folder to read, downloaded if needed; None if `datasets` reads the hub's tables."""
        if self.generated:
            return Path()
        if path is not None and (file := Path(path).expanduser()).is_file():
            return file
        if path is not None or not self.hub_id:
            return require_folder(path, self.name, self.files, flag)
        return hub.fetch(self.hub_id, self.hub_files, self._instead(flag)) if self.hub_files else None

    def _instead(self, flag: str) -> str:
        return f"set {flag} to a local folder that contains {self.files}"

    def card(self, unused_images: tuple[str, ...] = ()) -> dict[str, Any]:
        """The fields of the data card that describe the source."""
        return {
            "source": self.name,
            "license": self.license,
            "citation": self.citation,
            "url": self.url,
            "unused_images": unused_images,
        }

    @property
    def available(self) -> str:
        """Availability without a download: `generated`, `hub cache`, or `no`."""
        if self.generated:
            return "generated"
        return "hub cache" if self.hub_id and _in_hub_cache(self.hub_id) else "no"


def _files(path: Path) -> Iterator[Path]:
    """The file, or all files below the folder in a fixed order; hidden files of file managers are skipped."""
    if path.is_file():
        yield path
        return
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _describe_file(root: Path, file: Path) -> str:
    name, status = file.relative_to(root) if file != root else file.name, file.stat()
    return f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _in_hub_cache(hub_id: str) -> bool:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache/huggingface"))
    owner, name = hub_id.split("/")
    return (home / f"hub/datasets--{owner}--{name}").is_dir() or (home / f"datasets/{owner}___{name.lower()}").is_dir()
