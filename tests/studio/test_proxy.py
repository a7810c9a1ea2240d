"""The page behind a real proxy that serves it below a path and under another name, as Jupyter's does."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from playwright.sync_api import BrowserContext
from studio_pages import Serve, Visit, fill, free_port, press, seen, tab

pytest.importorskip("gradio", reason="the extra `ui` is not installed")
PREFIX = "/user/me/proxy/7860"
HOST = "hub.localhost"  # Chromium takes every name of localhost for this machine


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Proxy:
    """Passes requests below a prefix on without it; everything else is not there."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.missing: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection, so that only the first line has to be read."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            return
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, path, version = first.split(" ")
        if not path.startswith(f"{PREFIX}/"):
            self.missing.append(path)
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        kept = [line for line in lines if not line.lower().startswith("connection:")]
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port)
        request = [f"{method} {path.removeprefix(PREFIX)} {version}", *kept, "Connection: close", "", ""]
        inner_writer.write("\r\n".join(request).encode("latin-1"))
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))


@contextmanager
def proxied(port: int) -> Iterator[tuple[Proxy, int]]:
    """A proxy in a thread, and its port."""
    proxy, outer, ready = Proxy(port), free_port(), threading.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(proxy.serve, "127.0.0.1", outer))
        ready.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    yield proxy, outer
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.mark.slow
def test_the_page_works_below_the_path_of_a_proxy(serve: Serve, visit: Visit, context: BrowserContext) -> None:
    url = serve("studio", "--root-path", PREFIX, "--allow-host", HOST)
    port, query = int(url.split(":")[2].split("/")[0]), url.partition("?")[2]
    with proxied(port) as (proxy, outer):
        page = visit(f"http://{HOST}:{outer}{PREFIX}/?{query}")
        assert page.url == f"http://{HOST}:{outer}{PREFIX}/"
        tab(page, "Train")
        page.locator("#nano input").check()
        fill(page, "overrides", "method.max_steps=3")
        seen(page, "meaning", "method.max_steps")  # an answer over the stream of events
        tab(page, "Runs")
        press(page, "report")
        seen(page, "runs-message", "no run is chosen")
        [cookie] = context.cookies()
        assert (cookie["path"], cookie["domain"], cookie["httpOnly"]) == (f"{PREFIX}/", HOST, True)
        page.close()
        assert [path for path in proxy.missing if path != "/favicon.ico"] == []
        stranger = httpx.get(f"http://127.0.0.1:{outer}{PREFIX}/?{query}", headers={"Host": "other.localhost"})
        assert stranger.status_code == 403
