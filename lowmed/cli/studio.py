"""`lowmed studio`: a local web page for data, training, runs, questions and exports."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lowmed.cli.progress import info

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the runs.")]
Port = Annotated[int, typer.Option("--port", min=1024, max=65535, help="Port on this machine.")]
RootPath = Annotated[
    str, typer.Option("--root-path", metavar="PATH", help="The path below which a proxy serves the page.")
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="A proxy through which the page may be used; may be repeated."),
]


def studio(
    folder: Folder = Path("runs"), port: Port = 7860, root_path: RootPath = "", allow_host: AllowHost = None
) -> None:
    """Open a local web page for data, training, runs and questions.

    \b
    lowmed studio
    lowmed studio /data/runs --port 7861
    lowmed studio --root-path /user/me/proxy/7860 --allow-host hub.example.org      behind Jupyter

    Needs the extra `ui`. The page is bound to 127.0.0.1. Open the printed URL: without its token, and from other pages
    or hosts, every request is refused. What it starts is an ordinary command, which goes on without the page.
    """
    from lowmed.studio.page import studio as build

    serve(build(folder), port, root_path, allow_host or [])


def serve(build: Callable[[Any], Any], port: int, root_path: str, allowed_hosts: list[str]) -> None:
    """Serve a page until Ctrl-C or SIGTERM, which both remove uploaded files."""
    import signal

    from lowmed.studio.server import Address, serve_page

    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has them ignored, which commands would inherit
        signal.signal(number, signal.default_int_handler)
    with serve_page(build, Address(port, root_path, allowed_hosts)) as served:
        info(f"page    {served.url}   (Ctrl-C ends it)")
        if root_path or allowed_hosts:
            info(f"proxy   add {served.query} to the address of the proxy")
        served.page.block_thread()
