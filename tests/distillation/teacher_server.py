"""A teacher behind a local HTTP server, with configurable completions."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[str], str | int | None]  # takes the prompt; an integer is a status, None closes the connection


@dataclass
class TeacherServer:
    """The running server: its URL, and the requests that it received."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def images(self) -> int:
        parts = (part for body in self.requests for message in body["messages"] for part in message["content"])
        return sum(part["type"] == "image_url" for part in parts)


def prompt_of(body: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for message in body["messages"] for part in message["content"])


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[TeacherServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            running.requests.append(body)
            text = answer(prompt_of(body))
            if text is None:
                self.close_connection = True
                return
            choice = {"message": {"content": str(text)}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            content = json.dumps({"choices": [choice], "usage": usage}).encode()
            self.send_response(text if isinstance(text, int) else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = TeacherServer(f"http://127.0.0.1:{server.server_port}/v1")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
