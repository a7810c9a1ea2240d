"""The documentation site: it builds without a warning, loads nothing from the network, and describes the public API."""

import contextlib
import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser

import lowmed

ROOT = Path(__file__).parent.parent
# What a browser would load when it opens a page; plain links are not loaded.
LOADED = re.compile(
    r'<(?:script|img|iframe)[^>]*\ssrc="?(https?:[^"\s>]+)|<link[^>]*rel="?(?:stylesheet|preconnect)[^>]*https?:'
)


def test_the_site_builds_and_loads_nothing_from_the_network(tmp_path: Path, browser: Browser) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []
    with serve(tmp_path) as address:
        tab, requests = browser.new_page(), list[str]()
        tab.on("request", lambda request: requests.append(request.url))
        for page_name in ("", "tutorials/first-run/"):
            tab.goto(f"{address}/{page_name}", wait_until="networkidle")
        tab.close()
    assert len(requests) > 4
    assert [url for url in requests if not url.startswith((address, "data:"))] == []


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def test_the_reference_lists_every_public_name() -> None:
    listed = re.findall(r"^::: lowmed\.\S*?(\w+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(name for name in lowmed.__all__ if name != "__version__")
