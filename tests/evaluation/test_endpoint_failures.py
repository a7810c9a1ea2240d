"""Many requests at once to a real local server: slow, busy, dying, refusing images; killed and interrupted commands."""

import http.server
import json
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from commands import Started

from lowmed import prompt
from lowmed.api.probe import probe
from lowmed.data.image.policy import PixelPolicy
from lowmed.errors import SetupError
from lowmed.evaluation import endpoint
from lowmed.nano import phantom

SAMPLES = phantom.samples("test", 24)
FAMILY = prompt.family("reasoning")
WAIT = 30.0  # of the server for requests that should come; it never passes in a test that succeeds


class Server:
    """Answers `yes`; its attributes make it busy, slow or dead."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[str] = []
        self.answered: list[str] = []
        self.open = self.most_open = 0
        self.changed = threading.Condition()
        self.slots = 1000  # more requests at once get 429
        self.dies_after = 10_000
        self.holds_after = 10_000
        self.slow: str | None = None  # a request that waits until all others are answered
        self.drops: set[str] = set()  # requests whose first connection is closed
        self.refuses_images = self.is_html = False
        handler = type("Handler", (_Handler,), {"state": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler, bind_and_activate=False)
        self.server.request_queue_size = 64
        self.server.daemon_threads = True
        self.server.server_bind()
        self.server.server_activate()
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def wait_for(self, answered: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.answered) >= answered, WAIT)

    def stop(self) -> None:
        with self.changed:
            self.holds_after = 10_000
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def do_POST(self) -> None:
        state, body = self.state, self.rfile.read(int(self.headers["Content-Length"])).decode()
        with state.changed:
            state.requests.append(body)
            state.open += 1
            state.most_open = max(state.most_open, state.open)
            state.changed.notify_all()
            status = self._status(body)
            if status == 200:
                state.answered.append(body)
            state.changed.notify_all()
        if status:
            with suppress(OSError):
                self._send(status)
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        with state.changed:
            state.open -= 1

    def _status(self, body: str) -> int:
        state = self.state
        if len(state.answered) >= state.dies_after:
            return 0
        if body in state.drops:
            state.drops.remove(body)
            return 0
        if state.refuses_images and "image_url" in body:
            return 400
        if state.open > state.slots:
            return 429
        if len(state.answered) >= state.holds_after:
            state.changed.wait_for(lambda: len(state.answered) < state.holds_after, WAIT)
            return 0
        if body == state.slow:
            state.changed.wait_for(lambda: len(state.answered) == len(SAMPLES) - 1, WAIT)
        return 200

    def _send(self, status: int) -> None:
        choice = {"message": {"content": "<answer>yes</answer>"}, "finish_reason": "stop"}
        content = json.dumps({"choices": [choice]} if status == 200 else {"error": f"no images here ({status})"})
        content = "<html>a proxy</html>" if self.state.is_html else content
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_SECONDS", (0.0,) * 5)


def _completions(url: str, max_concurrency: int = 4) -> list[str]:
    answer = endpoint.answerer(url, "m", FAMILY, PixelPolicy(4), 32, max_concurrency=max_concurrency)
    return [one.sample.id for one in answer(SAMPLES, phantom.open_image, copies=1, temperature=0.0)]


def _body_of_first(server: Server) -> str:
    answer = endpoint.answerer(server.url, "m", FAMILY, PixelPolicy(4), 32, max_concurrency=1)
    list(answer(SAMPLES[:1], phantom.open_image, copies=1, temperature=0.0))
    server.answered.clear()
    return server.requests.pop()


def test_requests_are_bounded_and_a_slow_one_holds_back_no_other(server: Server) -> None:
    server.slow = _body_of_first(server)
    server.most_open = 0
    ids = _completions(server.url)
    assert sorted(ids) == sorted(sample.id for sample in SAMPLES)
    assert SAMPLES[0].id in ids[-4:]  # those that arrived together with it
    assert 1 < server.most_open <= 4


@pytest.mark.usefixtures("no_pauses")
def test_requests_that_the_server_drops_are_sent_again(server: Server) -> None:
    server.drops = {_body_of_first(server)}
    assert len(_completions(server.url)) == len(SAMPLES)
    assert Counter(server.requests).most_common(2)[0][1] == 2  # the dropped one alone was sent twice
    assert len(server.requests) == len(SAMPLES) + 1


def test_a_storm_of_429_is_outlasted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_SECONDS", tuple(0.002 * 2**step for step in range(9)))
    server.slots = 2
    assert sorted(_completions(server.url, 12)) == sorted(sample.id for sample in SAMPLES)
    assert set(Counter(server.answered).values()) == {1}


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_stays_busy_ends_the_evaluation_with_a_way_out(server: Server) -> None:
    server.slots = 0
    with pytest.raises(SetupError, match="429") as raised:
        _completions(server.url)
    assert "--max-concurrency" in raised.value.fix


def test_a_server_that_refuses_images_is_named_before_anything_is_stored(server: Server, tmp_path: Path) -> None:
    server.refuses_images = True
    with pytest.raises(SetupError, match="no images here") as raised:
        probe(None, on="phantom", questions=8, samples=2, endpoint=server.url, model="m", out=tmp_path / "p")
    assert "check --endpoint and --model" in raised.value.fix
    assert not list((tmp_path / "p").glob("*.jsonl"))


def test_a_page_of_a_proxy_is_shown_and_not_retried(server: Server) -> None:
    server.is_html = True
    with pytest.raises(SetupError, match="<html>a proxy</html>"):
        _completions(server.url)
    assert len(server.requests) <= 4


def _keys(file: Path) -> list[str]:
    return [json.loads(line)["id"] for line in file.read_text().splitlines()]


@pytest.mark.usefixtures("no_pauses")
def test_a_probe_resumes_after_the_death_of_the_server_and_repeats_no_answered_request(
    server: Server, tmp_path: Path
) -> None:
    def run(url: str) -> Any:
        return probe(None, on="phantom", questions=8, samples=3, endpoint=url, model="m", out=tmp_path / "p")

    server.dies_after = 20
    with pytest.raises(SetupError, match="does not respond") as raised:
        run(server.url)
    assert "start the server" in raised.value.fix
    stored = sum(len(_keys(file)) for file in (tmp_path / "p").glob("*.jsonl"))
    assert stored == 20  # all that the server answered
    second = Server()
    try:
        report = run(second.url)
        assert len(second.answered) == 8 * 7 - 20
        assert run(second.url).as_json() == report.as_json()
        assert len(second.answered) == 8 * 7 - 20
    finally:
        second.stop()
    for condition, copies in (("", 1), (".sampled", 3), (".sampled-blind", 3)):
        assert set(Counter(_keys(tmp_path / "p" / f"endpoint{condition}.jsonl")).values()) == {copies}
    assert report.all.questions == 8
    assert (report.endpoint, report.load_in) == (True, None)


ARGUMENTS = ("--model", "m", "--on", "phantom", "--questions", "40", "--controls", "0", "--max-concurrency", "6")


def _start_held(server: Server, start: Any, answered: int) -> Started:
    server.holds_after = answered
    process: Started = start("eval", "--endpoint", server.url, *ARGUMENTS, "--out", "e")
    with server.changed:  # all answers are sent, and six requests wait
        assert server.changed.wait_for(lambda: len(server.requests) == answered + 6, WAIT)
    return process


def test_a_killed_evaluation_loses_only_the_requests_in_flight(server: Server, start: Any, tmp_path: Path) -> None:
    process = _start_held(server, start, 30)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = set(_keys(tmp_path / "e" / "endpoint.jsonl"))
    assert len(stored) == 30  # the seventh request in flight is sent when an answer has been stored
    server.holds_after = 10_000
    with server.changed:
        server.changed.notify_all()
    again = start("eval", "--endpoint", server.url, *ARGUMENTS, "--out", "e")
    again.communicate()
    assert again.wait() == 0
    ids = _keys(tmp_path / "e" / "endpoint.jsonl")
    assert len(ids) == len(set(ids)) == len(server.answered)  # nothing was answered twice


def test_an_interrupted_evaluation_ends_at_once_and_keeps_what_has_arrived(
    server: Server, start: Any, tmp_path: Path
) -> None:
    process = _start_held(server, start, 12)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.wait() == 130
    assert server.open == 6  # the server still holds them, which would last for minutes
    assert "Traceback" not in errors
    assert len(_keys(tmp_path / "e" / "endpoint.jsonl")) == 12


def test_probe_options_of_a_server_are_refused_where_they_have_no_effect(lowmed: Any) -> None:
    result = lowmed("probe", "nano", "--on", "phantom", "--vision", "--endpoint", "http://127.0.0.1:9/v1")
    assert (result.returncode, result.stderr.splitlines()[1].strip()) == (2, "where  --endpoint")
    result = lowmed("probe", "--endpoint", "http://127.0.0.1:9/v1", "--on", "phantom")
    assert "must be used together" in result.stderr
    assert "nothing to evaluate" in lowmed("probe", "--on", "phantom").stderr
