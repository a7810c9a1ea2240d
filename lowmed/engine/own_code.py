"""The error for a model whose files ask transformers to run Python code of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lowmed.errors import SetupError


@contextmanager
def own_code_refused(source: str | Path) -> Iterator[None]:
    """Name the model if transformers refuses to load it without its own code.

    Args:
        source: hub id or folder.

    Raises:
        SetupError: the model needs code of its own.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise SetupError(
            "the model needs code of its own (auto_map), which lowmed does not run",
            str(source),
            "use a model whose code is part of transformers; `lowmed recipes show rarl` names one",
        ) from error
