"""Read and write files: atomic writes, JSON, JSON lines with an incomplete last line, and disk errors."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowmed.errors import LowmedError, RunError, SetupError

# What safetensors, torch and numpy say of a full disk; their errors have no errno.
_FULL = ("No space left on device", "PytorchStreamWriter failed", "fail at inline_container.cc", " requested and ")
MAX_JSON_BYTES = 256 * 2**20


def load_json(path: Path) -> Any:
    """The content of a JSON file, which somebody else may have written.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON in UTF-8, is nested too deeply, or is larger than 256 MiB.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES // 2**20} MiB")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; errors as of `load_json`."""
    content: dict[str, Any] = load_json(path)
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: to a temporary file in the same directory, then rename it.

    Raises:
        SetupError: the disk is full or not writable, or the path is a device or a folder. What exists is unchanged.
    """
    if path.exists() and not path.is_file():  # root could rename a file over a device
        raise SetupError("this is not a file", str(path), "choose another path")
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            temporary.unlink(missing_ok=True)  # of a killed process, or a link that somebody planted
            with temporary.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def require_own(path: Path, mark: str) -> None:
    """Refuse to replace a file that lowmed did not write.

    Args:
        path: where a file will be written; it may not exist.
        mark: what the first 4 KiB of such a file contain.

    Raises:
        RunError: something else is there: a file, a folder, a device or a link; or a folder above it is not a folder.
    """
    if not os.path.lexists(path):
        _require_possible(path)
        return
    if path.is_file() and not path.is_symlink():
        with disk_errors(path), path.open("rb") as file:
            if mark.encode() in file.read(4096):
                return
    raise _not_own(path)


def require_own_folder(folder: Path, *marks: str) -> None:
    """Refuse to write into a folder that lowmed did not write.

    Args:
        folder: where files will be written; it may not exist, or be empty but for leftovers of a killed process.
        marks: patterns of a file that such a folder has.

    Raises:
        RunError: something else is there: a file, a device, a link, a folder with other content, `.`, `..` or `/`; or a
            folder above it is not a folder.
    """
    if not os.path.lexists(folder):
        _require_possible(folder)
        return
    if folder.name in ("", "..") or folder.is_symlink() or not folder.is_dir():
        raise _not_own(folder)
    with disk_errors(folder):
        content = [path.name for path in folder.iterdir()]
    leftovers = [name for name in content if name.startswith(".") and name.endswith(".tmp")]
    if len(content) > len(leftovers) and not any(any(folder.glob(mark)) for mark in marks):
        raise _not_own(folder)


def require_absent(path: Path, what: str = "the output folder", fix: str = "") -> None:
    """Refuse to write where something exists.

    Args:
        path: what will be created.
        what: its name in the error.
        fix: the fix in the error.

    Raises:
        RunError: something is there, also a dangling link; or a folder above it is not a folder.
    """
    if os.path.lexists(path):
        raise RunError(f"{what} exists", str(path), fix or "choose another --out, or remove it")
    _require_possible(path)


def _require_possible(path: Path) -> None:
    """Refuse a path below something that is not a folder."""
    above = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if path.name in ("", "..") or not above.is_dir():
        raise RunError("no folder can be created there", f"{path}: {above} is not a folder", "choose another --out")


def _not_own(path: Path) -> RunError:
    return RunError("this exists and lowmed did not write it", str(path), "choose another --out, or move it away")


def read_jsonl(
    path: Path, *, fix: str = "restore the file, or delete the line", repair: bool = False
) -> list[dict[str, Any]]:
    """Read the rows of a JSON-lines file; an empty list if it does not exist.

    A last line without a newline is incomplete if a process was killed while writing. It is skipped if it is not JSON.

    Args:
        path: the file.
        fix: the fix in the error.
        repair: remove a last line without a newline from the file, so that the row is written again.

    Raises:
        RunError: any other line is not a JSON object.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    row: Any
    *lines, last = path.read_bytes().split(b"\n")  # bytes: the last line may end within a character
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line.decode()) if line else None
        except (ValueError, RecursionError) as error:
            raise RunError("the line is not JSON", f"{path}:{number}", fix) from error
        if line and not isinstance(row, dict):
            raise RunError("the line is not a JSON object", f"{path}:{number}", fix)
        rows += [row] if line else []
    if last and repair:
        write_text(path, "".join(f"{line.decode()}\n" for line in lines))
    elif last:
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(last.decode())
            rows += [row] if isinstance(row, dict) else []
    return rows


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]], *, ascii_only: bool = False) -> None:
    """Append rows to a JSON-lines file.

    Args:
        path: the file; created if absent.
        rows: the rows.
        ascii_only: as in `to_jsonl`.

    Raises:
        SetupError: the disk is full or not writable, or the file is a link, which somebody else may have planted.
    """
    if path.is_symlink():
        raise SetupError("this is a link, not a file", str(path), "replace it by the file itself")
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.writelines(to_jsonl([row], ascii_only=ascii_only) for row in rows)


def to_jsonl(rows: Iterable[Mapping[str, Any]], *, ascii_only: bool = False) -> str:
    """Rows as the text of a JSON-lines file.

    Args:
        rows: the rows.
        ascii_only: escape other characters; needed for completions, which may hold characters that UTF-8 cannot encode.
    """
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)


def require_format(content: Any, newest: int, path: Path, *, error: type[LowmedError] = RunError) -> None:
    """Check that the content of a file is not of a newer format.

    Args:
        content: the parsed JSON.
        newest: the newest format that this version reads.
        path: the file, for error messages.
        error: the class of the error that is raised.

    Raises:
        LowmedError: a newer version of lowmed wrote the file.
    """
    written = content.get("format") if isinstance(content, dict) else None
    if isinstance(written, int) and written > newest:
        raise error(
            f"written by a newer version of lowmed (format {written}, this version reads {newest})",
            str(path),
            "update lowmed: pip install -U lowmed",
        )


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn errors of a full disk, of too large a file and of permissions into a SetupError."""
    try:
        yield
    except Exception as error:  # of any library that writes; raised again unless it is one of these
        number = getattr(error, "errno", None)
        full = any(words in str(error) for words in _FULL)
        if number in (errno.ENOSPC, errno.EDQUOT) or full:
            fix = "free some space, then repeat the command or --resume the run"
            raise SetupError("the disk is full", str(where), fix) from error
        if number == errno.EFBIG:
            fix = "choose another --out, on a disk for large files, or raise `ulimit -f`"
            raise SetupError("the file is too large for this disk or this shell", str(where), fix) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise SetupError("the directory is not writable", str(where), "choose another --out") from error
        raise


def config_folder() -> Path:
    """The folder of the user's private files, `$XDG_CONFIG_HOME/lowmed`; it may not exist yet."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "lowmed"


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Build a folder aside and rename it, so that it is there only if it is complete.

    Args:
        folder: it must not exist.

    Yields:
        The folder to write to.

    Raises:
        SetupError: the disk is full or not writable. Nothing is left then.
    """
    aside = folder.with_name(f".{folder.name[:200]}.tmp")
    with disk_errors(folder):
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            yield aside
            aside.rename(folder)
        except BaseException as error:
            if isinstance(error, LowmedError):
                error.where = str(folder)
            shutil.rmtree(aside, ignore_errors=True)
            raise


def utc_now() -> str:
    """The UTC time in ISO format, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
