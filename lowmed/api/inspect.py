"""Inspect what somebody sent before any other command reads it: a run, adapter, model, data folder, or recipe.

Nothing is executed, and no weights are loaded. Files are judged by their names, and JSON and YAML by their content.
"""

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

MAX_FILES = 200_000
MAX_READ_BYTES = 64 * 2**20  # of one JSON or YAML file, or of one line
MAX_LINES = 100_000  # of a file of JSON lines
MAX_VALUES = 1_000_000  # in one file
SHOWN = 5
CODE = frozenset({
    ".py", ".pyc", ".ipynb", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".js", ".exe", ".so", ".dll", ".dylib", ".jar",
    ".whl",
})  # fmt: skip
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz"})
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_TEXT = frozenset({".json", ".yaml", ".yml", ".jsonl", ".md"})
_ABSOLUTE = re.compile(r"(?:/|~/|[A-Za-z]:[\\/]|\\\\|file:)\S")
_PATH_KEYS = (
    "path",
    "out",
    "image",
    "images",
    "start",
    "calibration",
    "difficulty",
    "pairs",
    "unpaired",
    "judge_calibration",
)
_BASE_KEYS = ("base_model_name_or_path", "_name_or_path")
_LICENSE = re.compile(r"^license:\s*(\S.{0,80})$", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """Something that needs attention: what it is, how many files or values, and the first of them."""

    what: str
    count: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`.

    Attributes:
        path: what was inspected.
        kind: a run, an adapter, a model, a data set, a recipe, or files.
        files: number of files.
        bytes: their size.
        bases: base models that the files name.
        licenses: licenses that the files state.
        findings: what needs attention; empty if nothing does.
    """

    path: str
    kind: str
    files: int
    bytes: int
    bases: tuple[str, ...]
    licenses: tuple[str, ...]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return asdict(self)


def inspect(path: str | PathLike[str]) -> Inspection:
    """List code, pickles, foreign paths and other things that need attention, without executing anything.

    Args:
        path: a folder or a file.

    Raises:
        DataError: it does not exist, or holds more than 200,000 files.
    """
    from lowmed.errors import DataError

    root = Path(path)
    if not root.exists():
        raise DataError("no such file or folder", str(root), "correct the path")
    seen = _Seen(root if root.is_dir() else root.parent)
    for number, file in enumerate(_files(root)):
        if number >= MAX_FILES:
            raise DataError(f"there are more than {MAX_FILES:,} files", str(root), "name a smaller folder")
        seen.file(file)
    findings = [Finding(what, len(names), tuple(names[:SHOWN])) for what, names in seen.findings.items() if names]
    return Inspection(
        path=str(root),
        kind=_kind(root),
        files=seen.files,
        bytes=seen.bytes,
        bases=tuple(sorted(seen.bases)),
        licenses=tuple(sorted(seen.licenses)),
        findings=tuple(findings),
    )


def _files(root: Path) -> Iterator[Path]:
    """All files and links below a folder, in order, without following links to folders."""
    if not root.is_dir():
        yield root
        return
    for folder, folders, files in os.walk(root):
        folders.sort()
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in sorted((*files, *links)))


def _kind(root: Path) -> str:
    if root.is_file():
        return "a recipe" if root.suffix in (".yaml", ".yml") else "a file"
    marks = {
        "run.json": "a run", "adapter_config.json": "an adapter", "samples.jsonl": "a data set",
        "config.json": "a model",
    }  # fmt: skip
    return next((kind for name, kind in marks.items() if (root / name).is_file()), "a folder")


class _Seen:
    """What has been seen so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = self.bytes = 0
        self.bases: set[str] = set()
        self.licenses: set[str] = set()
        self.findings: dict[str, list[str]] = {}

    def note(self, what: str, name: str) -> None:
        self.findings.setdefault(what, []).append(name)

    def file(self, file: Path) -> None:
        """Judge one file by its name and its first bytes, and its text if it is a small one."""
        name = file.relative_to(self.root).as_posix()
        if file.is_symlink():
            inside = file.resolve().is_relative_to(self.root.resolve())
            self.note("links" if inside else "links that lead out of the folder", name)
            return
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            self.note("devices, pipes or sockets", name)
            return
        self.files, self.bytes = self.files + 1, self.bytes + status.st_size
        suffix = file.suffix.lower()
        if suffix in CODE or (status.st_mode & 0o111 and suffix not in _TEXT):
            self.note("program code or programs; lowmed runs none of it", name)
        try:
            with file.open("rb") as opened:
                start = opened.read(4)
        except OSError:
            self.note("files that cannot be read", name)
            return
        if suffix in PICKLES or start.startswith(_PICKLE_STARTS) or (start == b"PK\3\4" and _holds_pickle(file)):
            self.note("pickles, which can run code if another program loads them", name)
        if suffix in _TEXT:
            self.text(file, name, status.st_size)

    def text(self, file: Path, name: str, size: int) -> None:
        """Read a text file within limits."""
        if size > MAX_READ_BYTES and file.suffix != ".jsonl":
            self.note(f"texts over {MAX_READ_BYTES // 2**20} MiB, which were not read", name)
            return
        try:
            if file.suffix == ".md":
                self.licenses |= set(_LICENSE.findall(file.read_text(encoding="utf-8")[:4000]))
                return
            for content in _contents(file):
                self.values(content, name)
        except (OSError, ValueError, RecursionError) as error:
            self.note("files that cannot be parsed", f"{name} ({type(error).__name__})")

    def values(self, content: Any, name: str) -> None:
        """Judge every value of a document, without recursion."""
        from lowmed.models.chat_template import is_known

        waiting: list[tuple[str, Any]] = [("", content)]
        for _ in range(MAX_VALUES):
            if not waiting:
                return
            key, value = waiting.pop()
            if isinstance(value, dict):
                waiting += [(str(inner), part) for inner, part in value.items()]
            elif isinstance(value, list):
                waiting += [(key, part) for part in value]
            if key == "auto_map" and value:
                self.note("models that ask to run code of their own (auto_map)", name)
            elif not isinstance(value, str):
                continue
            elif ".py:" in value and key in ("rewards", "name", ""):
                self.note("custom rewards, which run only after `lowmed rewards trust FILE`", f"{name}: {value[:80]}")
            elif key == "chat_template" and not is_known(value):
                self.note("chat templates that are not those of a supported family", name)
            elif key in _BASE_KEYS:
                self.bases.add(value[:200])
            elif key == "license" and value:
                self.licenses.add(value[:80])
            elif key in _PATH_KEYS and (_ABSOLUTE.match(value) or ".." in PurePosixPath(value).parts):
                self.note("paths that lead out of the folder", f"{name}: {value[:80]}")
        self.note(f"texts with over {MAX_VALUES:,} values, which were read in part", name)


def _holds_pickle(file: Path) -> bool:
    """Whether a zip archive holds a pickle, as the files of PyTorch do, whatever they are called."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _contents(file: Path) -> Iterator[Any]:
    """The documents in a JSON, JSON-lines or YAML file.

    Raises:
        OSError, ValueError, RecursionError: the file cannot be read or parsed.
    """
    import json

    from lowmed.errors import LowmedError
    from lowmed.files import load_json
    from lowmed.recipe.raw import read_raw

    if file.suffix == ".json":
        yield load_json(file)
    elif file.suffix == ".jsonl":
        with file.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(MAX_READ_BYTES), b"")):
                if number >= MAX_LINES:
                    return
                if line.strip():
                    yield json.loads(line)
    else:
        try:
            yield read_raw(file).values
        except LowmedError as error:
            raise ValueError(error.what) from error
