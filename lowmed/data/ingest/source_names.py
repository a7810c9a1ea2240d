"""Digests in place of the names of a user's files, which may be names of patients.

The names are kept in one private file per data set, `$XDG_CONFIG_HOME/lowmed/names/<folder>-<digest>.json`, with the
whole reasons of rejected rows. It is never inside the data set, so that the data set can be shared as it is.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed.data.image.dicom import pseudonym
from lowmed.errors import SetupError
from lowmed.files import config_folder

_DIGEST = re.compile(r"file-[0-9a-f]{12}")
_QUOTED = re.compile(r"[`'\"(\[].*[`'\")\]]", re.DOTALL)
MAX_NAME_CHARACTERS = 40  # of the folder, in the name of the private file


def digest_of(name: str, salt: bytes) -> str:
    """The digest that stands for a name; equal names have equal digests on this machine."""
    return f"file-{pseudonym(name, salt)}"


def is_digest(text: str) -> bool:
    """Whether a text is such a digest."""
    return _DIGEST.fullmatch(text) is not None


def without_contents(reason: str) -> str:
    """A reason without what it quotes from the row or from an error of another library."""
    return _QUOTED.sub("...", reason).partition(": ")[0]


def names_file(folder: Path) -> Path:
    """Where the names of a data set's source files are kept."""
    place = hashlib.sha256(str(folder.expanduser().absolute()).encode(errors="surrogatepass")).hexdigest()[:12]
    return config_folder() / "names" / f"{folder.absolute().name[:MAX_NAME_CHARACTERS]}-{place}.json"


def read_names(folder: Path) -> dict[str, str]:
    """The names by digest; empty where they are not known, as on another machine."""
    files = _private(folder).get("files")
    return {str(digest): str(name) for digest, name in files.items()} if isinstance(files, dict) else {}


def read_reasons(folder: Path) -> dict[tuple[Any, Any, Any], str]:
    """The whole reason of each rejected row, by what the data set's own list says: digest, line and reason."""
    rows = _private(folder).get("rejected")
    try:
        return {(row["file"], row["line"], without_contents(row["reason"])): row["reason"] for row in rows or ()}
    except (TypeError, KeyError):
        return {}


def write_names(folder: Path, names: Iterable[str], rejected: Sequence[Mapping[str, Any]], salt: bytes) -> None:
    """Write the private file of a data set, or remove it if there is no name.

    Args:
        folder: the data set.
        names: the names.
        rejected: the rejected rows: digest of the file, line, and the whole reason.
        salt: the salt of pseudonyms.

    Raises:
        SetupError: the file cannot be written.
    """
    by_digest = {digest_of(name, salt): name for name in names}
    path = names_file(folder)
    try:
        if not by_digest:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = {"folder": str(folder.absolute()), "files": by_digest, "rejected": rejected}
        write_private(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        what = f"the names of the source files cannot be stored ({error.strerror})"
        raise SetupError(what, str(path), "set XDG_CONFIG_HOME to a folder that can be written") from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; whole or not at all."""
    temporary = path.with_name(f".{os.getpid()}.tmp")
    with os.fdopen(
        os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    temporary.replace(path)


def _private(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads(names_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
