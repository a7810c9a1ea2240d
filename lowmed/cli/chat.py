"""`lowmed chat`: a local web page to ask a model."""

from typing import Annotated

import typer

from lowmed.cli.ask import Target
from lowmed.cli.progress import info

Port = Annotated[int, typer.Option("--port", min=1024, max=65535, help="Port on this machine.")]


def chat(target: Target, port: Port = 7860) -> None:
    """Open a local web page to ask a model.

    \b
    lowmed chat runs/20260101-rarl
    lowmed chat nano --port 7861

    For a run, the page shows the answers of the base and of the tuned model side by side. Needs the extra `ui`.
    The page is bound to 127.0.0.1, without share link or analytics. Uploaded images are removed at the end.
    """
    import signal

    from lowmed.engine import device

    device.silence_libraries()
    from lowmed.evaluation.target import open_target
    from lowmed.ship.chat import HOST, serve_page

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM also removes the uploaded images
    with serve_page(open_target(target), port) as page:
        info(f"page    http://{HOST}:{port}   (Ctrl-C ends it)")
        page.block_thread()
