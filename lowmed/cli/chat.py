"""`lowmed chat`: one local page to ask a model."""

from typing import Annotated

import typer

from lowmed.cli.progress import info

Target = Annotated[str, typer.Argument(metavar="MODEL_OR_RUN", help="A run, a merged folder, `nano`, or a hub id.")]
Port = Annotated[int, typer.Option("--port", min=1024, max=65535, help="Of this machine; no other can reach it.")]


def chat(target: Target, port: Port = 7860) -> None:
    """Open a page on this machine: drop an image, ask, and see base and tuned side by side.

    \b
    lowmed chat runs/20260101-rarl
    lowmed chat nano --port 7861

    Needs the extra `ui`. Bound to 127.0.0.1, no share link, no analytics; what is dropped is removed on leaving.
    """
    import signal

    from lowmed.engine import device
    from lowmed.evaluate.target import open_target

    device.silence_libraries()
    from lowmed.ship import chat as page

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was dropped on the page is removed then, too
    who = open_target(target)
    with page.serving(who, port) as served:
        info(f"page    http://{page.HOST}:{port}   (Ctrl-C ends it)")
        served.block_thread()
