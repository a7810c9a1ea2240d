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
    The page is bound to 127.0.0.1, without share link or analytics. Open the printed URL: without its token, and from
    other pages or hosts, every request is refused. Uploaded images are removed at the end.
    """
    import signal

    from lowmed.engine import device

    device.silence_libraries()
    from lowmed.evaluation.target import open_target
    from lowmed.ship.chat import serve_page

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM also removes the uploaded images
    with serve_page(open_target(target), port) as served:
        info(f"page    {served.url}   (Ctrl-C ends it)")
        served.page.block_thread()
