"""A server that is silent, endless, or repeats the key: every job ends in time, and no key is shown or stored."""

import contextlib
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge.served import JudgeRequest, completion, serving, verdict

from lowmed import progress
from lowmed.errors import JudgeUnavailableError, LowmedError, SetupError
from lowmed.evaluation import endpoint
from lowmed.judge import ANSWER, Judge, Query, openai_client, transport, waiting
from lowmed.judge.job import Job, JobEndedError

Q = "What is seen in the left lung?"
QUERIES = [Query(ANSWER, Q, ("effusion",), f"fluid {number}") for number in range(20)]
JOB_SECONDS = 1.0
LATEST_SECONDS = 30.0  # a bound on a hang, not on speed: without deadlines these servers never end
KEY = "sk-secret-1234567890"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWMED_JUDGE_KEY", KEY)
    monkeypatch.setenv("LOWMED_API_KEY", KEY)


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket, threading.Event], None], *, read: bool = True) -> Iterator[str]:
    """Accepts connections and lets a function answer each of them."""
    listener, done = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if read:
                connection.recv(65536)
            serve(connection, done)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        done.set()
        listener.close()


def _after(sent: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def serve(connection: socket.socket, done: threading.Event) -> None:
        connection.sendall(sent)
        done.wait(60)

    return serve


def _drip(first: bytes, byte: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def serve(connection: socket.socket, done: threading.Event) -> None:
        connection.sendall(first)
        while not done.wait(0.05):
            connection.sendall(byte)

    return serve


def _endless(connection: socket.socket, done: threading.Event) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while not done.is_set():
        connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")


HOSTILE = {
    "silent": _after(b""),
    "headers, then nothing": _after(HEAD + b"Content-Length: 10\r\n\r\n"),
    "half a header": _after(b"HTTP/1.1 200"),
    "drips its headers": _drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"a"),
    "drips its body": _drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "interim responses for ever": _drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "endless": _endless,
    "too long a length": _after(HEAD + b"Content-Length: 500\r\n\r\n{}"),
    "a bomb": _after(
        HEAD + b"Content-Encoding: gzip, gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"2000\r\n" + gzip.compress(gzip.compress(bytes(100_000_000), 9), 9)[:0x2000].ljust(0x2000) + b"\r\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("seconds", [0.2, 60.0], ids=["tries end", "only the job ends"])
def test_a_job_ends_in_time_whatever_the_server_does(name: str, seconds: float) -> None:
    with raw_server(HOSTILE[name]) as url:
        judge = Judge(url, "m", seconds=seconds, job_seconds=JOB_SECONDS)
        started = time.monotonic()
        with pytest.raises(JudgeUnavailableError) as raised:
            judge.ask_all(QUERIES, strict=True)
        assert time.monotonic() - started < LATEST_SECONDS
        assert len(str(raised.value).splitlines()) == 3
        assert url.removesuffix("/v1") in raised.value.where


@pytest.mark.parametrize("name", ["silent", "drips its headers"])
def test_an_evaluation_of_an_endpoint_ends_in_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowmed import prompt
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.nano import phantom

    monkeypatch.setattr(endpoint, "SECONDS_PER_JOB", JOB_SECONDS)
    monkeypatch.setattr(endpoint, "JOB_SECONDS_PER_COMPLETION", 0.0)
    with raw_server(HOSTILE[name]) as url:
        answer = endpoint.answerer(url, "m", prompt.family("direct"), PixelPolicy(4), 8)
        with pytest.raises(SetupError, match=r"too slow|does not respond"):
            list(answer(phantom.samples("test", 9), phantom.open_image, copies=1, temperature=0.0))


@pytest.mark.parametrize("value", ["3600", "999999999999999999999999", "²", "-5", "Fri, 31 Dec 2099 23:59:59 GMT"])
def test_a_long_pause_that_a_server_asks_for_does_not_outlast_the_job(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", (0.0, 0.0))
    sent = f"HTTP/1.1 429 Busy\r\nRetry-After: {value}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with raw_server(_after(sent)) as url:
        judge = Judge(url, "m", job_seconds=JOB_SECONDS)
        started = time.monotonic()
        with pytest.raises(JudgeUnavailableError):
            judge.ask_all(QUERIES, strict=True)
        assert time.monotonic() - started < LATEST_SECONDS


def test_a_judge_that_dies_after_many_verdicts_stops_the_job_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", ())
    queries = [Query(ANSWER, Q, ("effusion",), f"fluid {number}") for number in range(400)]

    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        return verdict(request, True) if len(server.requests) <= 300 else (500, b"out of\x1b[2J memory")

    with serving(respond) as server:
        notes: list[tuple[int, str]] = []
        with pytest.raises(
            JudgeUnavailableError, match=r"8 queries to the judge failed in a row.*500: out of"
        ) as raised:
            Judge(server.url, "m").ask_all(queries, advance=lambda done, note: notes.append((done, note)))
        assert len(server.requests) < 330
    assert "\x1b" not in str(raised.value)
    assert notes[0][0] == 1
    assert notes[100][1].startswith("sent ")
    assert [done for done, _ in notes] == sorted(done for done, _ in notes)


def test_a_wait_is_shown_also_while_no_answer_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.01)
    lines, notes, shown = list[str](), list[tuple[int, str]](), threading.Event()

    def log(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            shown.set()

    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        assert shown.wait(60)
        return verdict(request, True)

    with serving(respond) as server:
        judge = Judge(server.url, "m")
        judge.log = log
        judge.ask_all(QUERIES[:10], advance=lambda done, note: notes.append((done, note)))
        before = len(lines)
        judge.ask_all(QUERIES[:10])  # all are cached
    assert re.fullmatch(r"judge   0/10 verdicts  0 s, at most 33[78] s  sent \d+, answered 0, failed 0", lines[2])
    assert [done for done, _ in notes[:3]] == [0, 0, 0]
    assert len(lines) == before
    assert notes[-1] == (10, "sent 10, answered 10, failed 0")


def test_the_line_of_a_wait_gives_the_time_left() -> None:
    job = Job(100)
    assert (waiting.line(4, 12, time.monotonic() - 8, job, "sent 6") or "").startswith(
        "judge   4/12 verdicts  8 s, about 16 s left, at most 100 s  sent 6"
    )
    assert "about 100 s left" in (waiting.line(1, 1000, time.monotonic() - 8, job, "") or "")
    job.end()
    assert waiting.line(4, 12, time.monotonic(), job, "") is None


def test_single_failures_between_verdicts_do_not_stop_a_job() -> None:
    queries = [Query(ANSWER, Q, ("effusion",), f"fluid {number}") for number in range(400)]

    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        return completion("no idea") if request.candidate.endswith("50") else verdict(request, True)

    with serving(respond) as server:
        results = Judge(server.url, "m").ask_all(queries)
    assert sum(result.value is None for result in results) == 4


@pytest.mark.parametrize("status", [401, 500, 200])
def test_a_key_that_the_server_repeats_is_not_shown(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", ())
    echo = json.dumps({"error": f"invalid key {KEY}", "padding": "x" * 170 + KEY}).encode()
    with serving(lambda request: (status, echo)) as server:
        judge = Judge(server.url, "m")
        try:
            shown = repr(judge.ask_all(QUERIES[:1]))
        except LowmedError as error:
            shown = str(error)
        assert server.requests[0].key == f"Bearer {KEY}"
    assert "sk-secret" not in shown
    assert len(shown) < 600


def test_a_key_in_a_verdict_is_not_stored(tmp_path: Path) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)  # as JSON, it is read as the key

    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        content = f'{{"id": "{request.code}", "reason": "because {KEY} and {escaped}", "verdict": "correct"}}'
        return completion(content)

    with serving(respond) as server:
        [result] = Judge(server.url, "m").ask_all(QUERIES[:1])
    assert result.why == "because [key] and [key]"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_redirect_to_another_machine_is_not_followed() -> None:
    sent = b"HTTP/1.1 302 Found\r\nLocation: http://example.invalid/steal\r\nContent-Length: 0\r\n\r\n"
    with raw_server(_after(sent)) as url, pytest.raises(SetupError, match="responds with 302"):
        Judge(url, "m", job_seconds=JOB_SECONDS).ask_all(QUERIES)


def test_an_ended_job_wakes_its_pauses() -> None:
    job = Job(3600)
    threading.Timer(0.05, job.end).start()
    with pytest.raises(JobEndedError):
        job.pause(1800)
    with pytest.raises(JobEndedError):
        Job(10).pause(60)  # longer than the job: not waited for


def test_text_of_a_server_is_one_short_line_without_control_characters() -> None:
    text = openai_client.shown("a\x1b[31m\r\n\u202eb\t" + "c" * 1_000_000)
    assert text.isprintable()
    assert len(text) < 210
