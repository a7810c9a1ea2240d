"""`lowmed chat`: a local web page to ask a model."""

from lowmed.cli.ask import Target
from lowmed.cli.studio import AllowHost, Port, RootPath, serve


def chat(target: Target, port: Port = 7860, root_path: RootPath = "", allow_host: AllowHost = None) -> None:
    """Open a local web page to ask a model.

    \b
    lowmed chat runs/20260101-rarl
    lowmed chat nano --port 7861

    For a run, the page shows the answers of the base and of the tuned model side by side. Needs the extra `ui`.
    The page is bound to 127.0.0.1, without share link or analytics. Open the printed URL: without its token, and from
    other pages or hosts, every request is refused. Uploaded images are removed at the end.
    """
    from lowmed.studio.page import chat as build

    serve(build(target), port, root_path, allow_host or [])
