"""A judge that fails: malformed responses, and servers that reject, hang, disconnect or never finish."""

import json
import socket
import threading
from pathlib import Path

import pytest
from judge.served import JudgeRequest, Responder, completion, overlapping, serving, verdict

from lowmed.errors import SetupError
from lowmed.judge import Judge, openai_client, transport

Q = "What is seen in the left lung?"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.chdir(tmp_path)


def _with_fields(**changed: object) -> Responder:
    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        fields = {"id": request.code, "reason": "same", "verdict": "correct", **changed}
        return completion(json.dumps({name: value for name, value in fields.items() if value is not ...}))

    return respond


def _text(content: object) -> Responder:
    return lambda request: completion(content)


@pytest.mark.parametrize(
    "respond",
    [
        _text(""),
        _text(None),
        _text(["correct"]),
        _text("correct"),
        _text("YES, this is correct. 1"),
        _text('{"verdict": "correct"}'),
        _text('{"id": "x", "reason": "because it is", "verdict": "corr'),
        _text('[{"verdict": "correct"}]'),
        _with_fields(verdict="CORRECT"),
        _with_fields(verdict="not correct"),
        _with_fields(verdict=True),
        _with_fields(verdict=1),
        _with_fields(verdict=["correct"]),
        _with_fields(verdict="sound"),
        _with_fields(reason=""),
        _with_fields(reason=...),
        _with_fields(id=...),
        _with_fields(id="another"),
        _with_fields(score=3),
        lambda request: (200, b"not json"),
        lambda request: (200, b'{"choices": [{"message": {"content": "{'),
        lambda request: (200, b"[" * 100_000),
        lambda request: (200, b"{}"),
        lambda request: (200, b"[]"),
        lambda request: (200, b'{"choices": []}'),
        lambda request: (200, b"\xff\xfe"),
        lambda request: (500, b"out of memory"),
        lambda request: (429, b"slow down"),
        lambda request: completion(verdict(request, True)[1].decode() * 2),
    ],
)
def test_a_failed_or_malformed_verdict_is_not_a_score(respond: Responder) -> None:
    with serving(respond) as server:
        judge = Judge(server.url, "m")
        result = judge.verdict(Q, "effusion", "fluid")
        assert result.value is None
        assert result.by == "failed"
        assert result.why
        tries = len(server.requests)
        assert 1 <= tries <= 3
        assert judge.usage().verdicts_by == {"rule": 0, "cache": 0, "judge": 0, "failed": 1}
        server.respond = overlapping
        assert judge.verdict(Q, "effusion", "fluid").value is False  # failures are not cached
        assert len(server.requests) == tries + 1


def test_a_malformed_verdict_is_requested_again_with_another_code() -> None:
    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        return completion("Sure! It is correct.") if len(server.requests) == 1 else verdict(request, True)

    with serving(respond) as server:
        judge = Judge(server.url, "m")
        assert judge.verdict(Q, "effusion", "fluid").value is True
    assert len({request.code for request in server.requests}) == 2
    assert judge.usage().malformed == 1


def test_a_busy_server_is_retried() -> None:
    statuses = iter([503, 429])

    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        status = next(statuses, 200)
        return verdict(request, True) if status == 200 else (status, b"busy")

    with serving(respond) as server:
        assert Judge(server.url, "m").verdict(Q, "effusion", "fluid").value is True
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [302, 307, 400, 401, 403, 404, 422])
def test_a_rejection_stops_at_once_and_redirects_are_not_followed(status: int) -> None:
    with serving(lambda request: (status, b"no such model")) as server:
        with pytest.raises(SetupError) as raised:
            Judge(server.url, "m").verdict(Q, "effusion", "fluid")
        assert len(server.requests) == 1
    assert str(status) in raised.value.what
    assert "no such model" in raised.value.what
    assert "--judge-model" in raised.value.fix


def test_a_hanging_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", (0.0,))

    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        server.closing.wait(20)
        return verdict(request, True)

    with serving(respond) as server:
        result = Judge(server.url, "m", seconds=0.2).verdict(Q, "effusion", "fluid")
        assert result.value is None
        assert "does not respond" in result.why
        assert len(server.requests) == 1  # another one would only wait as long again
    assert Judge("http://127.0.0.1:9/v1", "m").verdict(Q, "effusion", "fluid").value is None  # nothing listens there


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", b"", b"no http at all\r\n\r\n"])
def test_a_truncated_or_dripping_response_is_not_a_score(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", ())
    for dripping in (False, True):
        done = threading.Event()
        listener = socket.create_server(("127.0.0.1", 0))

        def serve(dripping: bool = dripping, listener: socket.socket = listener, done: threading.Event = done) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(sent)
                while dripping and not done.wait(0.02):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        assert Judge(url, "m", seconds=0.2).verdict(Q, "effusion", "fluid").value is None
        done.set()
        thread.join(5)
        listener.close()


def test_an_endless_response_is_not_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "MAX_RESPONSE_BYTES", 100_000)
    with serving(lambda request: completion("x" * 200_000)) as server:
        assert "more than 100000 bytes" in Judge(server.url, "m").verdict(Q, "effusion", "fluid").why
