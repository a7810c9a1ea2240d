"""`serve`: the command that serves a merged or converted folder with another program."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.ship.serve import ServeCommand, Server


def serve(
    folder: str | PathLike[str], *, server: "Server | None" = None, host: str = "127.0.0.1", port: int = 8000
) -> "ServeCommand":
    """The command that serves a folder of `lowmed merge` or `lowmed export`; `lowmed serve` becomes that process.

    Args:
        folder: the folder.
        server: `vllm`, `llama.cpp` or `transformers`; None for the one that fits the folder.
        host: the address to listen on.
        port: the port to listen on.

    Raises:
        LowmedError: the folder holds no merged weights, the server is not installed, or the port is in use.
    """
    from lowmed.ship.serve import require_free, serve_command

    command = serve_command(Path(folder), server, host, port)
    require_free(host, port)
    return command
