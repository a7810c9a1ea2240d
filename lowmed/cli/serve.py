"""`lowmed serve`: print the command that serves a folder, and become that process."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli.progress import info
from lowmed.errors import RecipeError

if TYPE_CHECKING:
    from lowmed.ship.serve import Server

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of `lowmed merge` or `lowmed export`.")]
ServerName = Annotated[
    str | None, typer.Option("--server", help="vllm, llama.cpp or transformers; default: the one that fits FOLDER.")
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on; another one is open to other machines.")]
Port = Annotated[int, typer.Option("--port", min=1024, max=65535, help="Port to listen on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the command, and stop.")]
SERVERS: "dict[str, Server]" = {"vllm": "vllm", "llama.cpp": "llama.cpp", "transformers": "transformers"}


def serve(
    folder: Folder, server: ServerName = None, host: Host = "127.0.0.1", port: Port = 8000, dry_run: DryRun = False
) -> None:
    """Serve a merged model behind an OpenAI-compatible API.

    \b
    lowmed merge runs/20260101-rarl --out rarl-merged
    lowmed serve rarl-merged
    lowmed eval rarl-merged --endpoint http://127.0.0.1:8000/v1 --model rarl-merged --on vqa-rad --path ~/vqa-rad

    Starts a program that is installed: llama.cpp for a folder with GGUF files, vLLM for one of `export --to vllm`, else
    transformers' own server (extra `serve`). It listens on this machine only, unless --host names another address.
    Ctrl-C ends it.
    """
    from lowmed.api import serve as api

    if server is not None and server not in SERVERS:
        raise RecipeError(f"unknown server `{server}`", "--server", f"one of {', '.join(SERVERS)}")
    command = api.serve(folder, server=SERVERS[server] if server else None, host=host, port=port)
    info(f"server  {command.server}: {command.why}")
    for note in command.notes:
        info(f"note    {note}")
    info(f"run     {command.line}")
    info(f"address {command.url}   model {command.model}   (Ctrl-C ends it)")
    info(f"test    {command.evaluate}")
    if dry_run:
        return
    sys.stdout.flush()
    os.chdir(command.folder)
    os.execvpe(command.command[0], command.command, os.environ | command.environment)  # noqa: S606
