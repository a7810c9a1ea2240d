"""Files with rewards that may run on this machine: those whose content the user has approved, by its digest.

A recipe or a run may come from somebody else, and its custom rewards are Python code.
"""

import hashlib
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from lowmed.errors import RecipeError, SetupError
from lowmed.files import config_folder, disk_errors, utc_now

FILE = "trusted_rewards.jsonl"
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class RewardFile:
    """A file with rewards, read once: what is approved, and what is executed, is this content.

    Attributes:
        path: as the user or the recipe names it.
        content: its bytes.
    """

    path: Path
    content: bytes

    @property
    def digest(self) -> str:
        """The SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


def read_reward_file(path: Path, where: str) -> RewardFile:
    """Read a file with rewards, without executing it.

    Args:
        path: the file.
        where: the key or option that names it, for error messages.

    Raises:
        RecipeError: there is no such file, or it is no Python file of a normal size.
    """
    file = path.expanduser()
    if not file.is_file():
        raise RecipeError(
            f"there is no file {path}",
            where,
            "correct the path; it is relative to the directory in which you run the command",
        )
    if file.suffix != ".py":
        raise RecipeError(f"{path} is not a Python file", where, "name a file that ends with .py")
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}", where, "make it readable") from error
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{path} has more than {MAX_BYTES:,} bytes", where, "keep data out of the file")
    return RewardFile(file, content)


def approve(file: RewardFile) -> None:
    """Allow this content to run as a reward on this machine, whatever the name of its file.

    Raises:
        SetupError: the list of approved files cannot be written.
    """
    if file.digest in _approved():
        return
    line = {"sha256": file.digest, "path": str(file.path.resolve()), "bytes": len(file.content), "time": utc_now()}
    store = config_folder() / FILE
    with disk_errors(store):
        store.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(store, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.fchmod(opened, 0o600)  # it holds paths
            os.write(opened, (json.dumps(line) + "\n").encode())  # one write: another process may append too
        finally:
            os.close(opened)


def require_approved(file: RewardFile, where: str, by: Path | None = None) -> None:
    """Check that the user has approved exactly this content on this machine.

    Args:
        file: the file.
        where: the key that names it, for the error message.
        by: the file that imports it, if its approval includes this one.

    Raises:
        RecipeError: it has not been approved, or has changed since.
    """
    approved = _approved()
    if file.digest in approved:
        return
    changed = str(file.path.resolve()) in approved.values()
    state = "has changed since it was approved" if changed else "has not been approved on this machine"
    raise RecipeError(
        f"{file.path} is Python code that {state}; nothing of it was executed",
        where,
        f"read the file, then allow it: lowmed rewards trust {shlex.quote(str(by or file.path))}",
    )


def _approved() -> dict[str, str]:
    """The path of each approved content, by digest. A damaged line approves nothing."""
    store, approved = config_folder() / FILE, dict[str, str]()
    try:
        lines = store.read_bytes().splitlines() if store.is_file() else []
    except OSError as error:
        raise SetupError(
            f"the list of approved rewards cannot be read: {error.strerror}", str(store), "make it readable"
        ) from error
    for line in lines:
        try:
            entry = json.loads(line)
            approved[str(entry["sha256"])] = str(entry["path"])
        except (ValueError, TypeError, KeyError):
            continue
    return approved
