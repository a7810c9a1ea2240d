"""The secret that turns patients into digests: made once, kept outside of every data set, never shown."""

import os
import secrets
from pathlib import Path

from lowmed.errors import SetupError

LENGTH_BYTES = 32


def read_salt() -> bytes:
    """This user's salt, from `$XDG_CONFIG_HOME/lowmed/salt`; written there on first use, for its owner alone.

    With it the digests are the same in every run; without it nobody can try names until one fits.

    Raises:
        SetupError: the file cannot be written or is not what it should be.
    """
    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "lowmed" / "salt"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f"salt.{os.getpid()}")
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
                opened.write(secrets.token_bytes(LENGTH_BYTES))
            aside.rename(path)
        content = path.read_bytes()
    except OSError as error:
        fix = "set XDG_CONFIG_HOME to a folder that can be written"
        raise SetupError(f"the salt for patients' digests cannot be kept ({error.strerror})", str(path), fix) from error
    if len(content) < LENGTH_BYTES:
        raise SetupError("the salt for patients' digests is too short", str(path), "delete it; a new one is made")
    return content[:LENGTH_BYTES]
