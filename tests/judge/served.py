"""A judge behind a local HTTP server, with configurable behavior."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lowmed.answer import token_f1


@dataclass
class JudgeRequest:
    """One request as the server received it."""

    body: dict[str, Any]
    key: str | None
    code: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first, block, *_ = self.body["messages"][1]["content"].split("\n")
        self.code, self.data = first, json.loads(block)

    @property
    def candidate(self) -> str:
        return str(self.data.get("candidate_answer", self.data.get("candidate_reasoning")))


Responder = Callable[[JudgeRequest], tuple[int, bytes]]


def completion(content: Any, **more: Any) -> tuple[int, bytes]:
    choice = {"message": {"content": content}, "finish_reason": "stop", **more}
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return 200, json.dumps({"choices": [choice], "usage": usage}).encode()


def verdict(request: JudgeRequest, accepted: bool, reason: str = "because") -> tuple[int, bytes]:
    words = request.body["response_format"]["json_schema"]["schema"]["properties"]["verdict"]["enum"]
    content = {"id": request.code, "reason": reason, "verdict": words[0 if accepted else 1]}
    return completion(json.dumps(content))


def overlapping(request: JudgeRequest) -> tuple[int, bytes]:
    """A reasonable judge: accepts if half of the words are shared."""
    golds = request.data["reference_answers"]
    return verdict(request, max(token_f1(request.candidate, gold) for gold in golds) >= 0.5, "by shared words")


class Server(http.server.ThreadingHTTPServer):
    """Records its requests and their greatest concurrency."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, respond: Responder) -> None:
        self.respond, self.requests, self.lock = respond, list[JudgeRequest](), threading.Lock()
        self.inside = self.most_inside = 0
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    wbufsize = -1  # head and body in one packet

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = JudgeRequest(body, self.headers.get("Authorization"))
        with self.server.lock:
            self.server.requests.append(request)
            self.server.inside += 1
            self.server.most_inside = max(self.server.most_inside, self.server.inside)
        try:
            status, content = self.server.respond(request)
        finally:
            with self.server.lock:
                self.server.inside -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status in (302, 307):
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def serving(respond: Responder = overlapping) -> Iterator[Server]:
    server = Server(respond)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
