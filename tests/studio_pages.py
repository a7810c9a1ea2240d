"""Pages of lowmed in a browser."""

import re
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from commands import Started
from playwright.sync_api import Page

Visit = Callable[..., Page]
Serve = Callable[..., str]
_URL = re.compile(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def printed(process: Started) -> str:
    """What a command has printed on stderr until now."""
    return Path(f"/proc/self/fd/{process.stderr.fileno()}").read_text()


def address(process: Started) -> str:
    """The address that a page prints, once it is served."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
        if match := _URL.search(printed(process)):
            return match[0]
        assert process.returncode is None, printed(process)


def is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "http://hub.localhost:", "data:", "blob:", "about:"))


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def fill(page: Page, element: str, text: str) -> None:
    page.locator(f"#{element} textarea, #{element} input").first.fill(text)


def press(page: Page, element: str) -> None:
    page.locator(f"button#{element}").click()


def seen(page: Page, element: str, text: str) -> None:
    """Wait until a part of the page shows a text."""
    page.locator(f"#{element}").get_by_text(text).first.wait_for()
