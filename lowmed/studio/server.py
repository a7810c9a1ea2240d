"""Serve a page of gradio to this machine alone."""

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lowmed.errors import RecipeError, SetupError
from lowmed.studio.guard import Guard
from lowmed.studio.style import CSS

HOST = "127.0.0.1"
NOTICE = "Research only. Not a diagnostic device, not for clinical use. Nothing leaves this machine."
_PREFIX = re.compile(r"(/[\w.~@-]+)*")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        port: on this machine.
        root_path: the path below which a proxy serves the page, e.g. /proxy/7860; "" without one.
        allowed_hosts: names of proxies through which the page may be used.

    Raises:
        RecipeError: the path or a name is not one.
    """

    port: int
    root_path: str = ""
    allowed_hosts: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.root_path.rstrip("/")):
            raise RecipeError(
                "the path of the proxy is not a path", f"--root-path {self.root_path}", "e.g. --root-path /proxy/7860"
            )
        for host in self.allowed_hosts:
            if not _NAME.fullmatch(host):
                raise RecipeError(
                    "this is not the name of a host", f"--allow-host {host}", "without scheme, port and path: my.host"
                )

    @property
    def prefix(self) -> str:
        """The path of the proxy without a slash at its end."""
        return self.root_path.rstrip("/")


@dataclass(frozen=True)
class ServedPage:
    """A page that is being served.

    Attributes:
        page: gradio's Blocks.
        url: its address on this machine, with the token without which every request is refused.
        query: `?token=...`, to add to the address of a proxy.
    """

    page: Any
    url: str
    query: str


@contextmanager
def serve_page(build: Callable[[Any], Any], address: Address) -> Iterator[ServedPage]:
    """Serve a page. Uploaded files are kept in a private folder that is removed at the end.

    Requests from other hosts or pages, and requests without the token, are refused.

    Args:
        build: makes the page from the module gradio.
        address: where it is served.

    Raises:
        SetupError: gradio is not installed, or the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with tempfile.TemporaryDirectory(prefix="lowmed-page-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            import gradio
        except ImportError as error:
            raise SetupError("the page needs gradio", "the extra `ui`", "pip install 'lowmed[ui]'") from error
        from starlette.middleware import Middleware

        page, token = build(gradio), secrets.token_urlsafe(32)
        guard = Middleware(Guard, token=token, prefix=address.prefix, allowed_hosts=tuple(address.allowed_hosts))
        try:
            page.launch(
                server_name=HOST,
                server_port=address.port,
                root_path=address.prefix,
                share=False,
                quiet=True,
                footer_links=[],
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=CSS,
                prevent_thread_lock=True,
                app_kwargs={"middleware": [guard]},
                ssr_mode=False,  # a second server, in Node, would be outside of the guard
            )
        except OSError as error:
            raise SetupError(
                f"the page cannot be served: {error}", f"http://{HOST}:{address.port}", "choose another --port"
            ) from error
        try:
            query = f"?token={token}"
            yield ServedPage(page, f"http://{HOST}:{address.port}/{query}", query)
        finally:
            page.close(verbose=False)
