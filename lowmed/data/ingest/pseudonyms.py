"""The secret salt of patients' pseudonyms: generated once, stored outside every data set, never printed."""

import os
import secrets

from lowmed.errors import SetupError
from lowmed.files import config_folder

LENGTH_BYTES = 32


def read_salt() -> bytes:
    """The user's salt, from `$XDG_CONFIG_HOME/lowmed/salt`; generated on first use, readable by its owner only.

    With the salt, pseudonyms are the same in every run. Without it, they cannot be reversed by trying names.

    Raises:
        SetupError: the file cannot be written, or is too short.
    """
    path = config_folder() / "salt"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"salt.{os.getpid()}")
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(secrets.token_bytes(LENGTH_BYTES))
            temporary.rename(path)
        content = path.read_bytes()
    except OSError as error:
        fix = "set XDG_CONFIG_HOME to a folder that can be written"
        raise SetupError(
            f"the salt of patients' pseudonyms cannot be stored ({error.strerror})", str(path), fix
        ) from error
    if len(content) < LENGTH_BYTES:
        raise SetupError(
            "the salt of patients' pseudonyms is too short", str(path), "delete it; a new one is generated"
        )
    return content[:LENGTH_BYTES]
