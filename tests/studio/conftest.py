from collections.abc import Iterator
from pathlib import Path

import pytest
import studio_pages as pages
from commands import Commands
from playwright.sync_api import Browser, BrowserContext, Page
from studio_pages import Serve, Visit


@pytest.fixture
def serve(commands: Commands, tmp_path: Path) -> Iterator[Serve]:
    """Start `studio` or `chat` in an empty folder; gives its address."""
    yield lambda *words: pages.address(commands.start(tmp_path, *words, "--port", str(pages.free_port())))
    commands.kill_running()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without cookies."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as opened:
        opened.set_default_timeout(60_000)
        yield opened


@pytest.fixture
def visit(context: BrowserContext) -> Iterator[Visit]:
    """Open a page. At the end, no script has failed, and nothing was requested from another machine."""
    problems: list[str] = []

    def opened(url: str) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda request: problems.append(request.url) if pages.is_foreign(request.url) else None)
        page.goto(url)
        page.get_by_text("Research only").first.wait_for()
        return page

    yield opened
    assert problems == []
