"""Responses of judges and endpoints: any bytes that a server sends are a verdict, a completion, or a named failure."""

import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fuzz.mutate import ODD, mutated, mutated_json, search
from hypothesis import given
from hypothesis import strategies as st

from lowmed import prompt
from lowmed.errors import LowmedError
from lowmed.evaluation import endpoint
from lowmed.judge import ANSWER, CLINICAL, Query, openai_client, verdict
from lowmed.judge.job import Job, JobEndedError
from lowmed.nano import phantom

QUERIES = {
    "answer": Query(ANSWER, "What is seen?", ("an effusion",), "fluid"),
    "clinical": Query(CLINICAL, "What is seen?", ("an effusion",), "I see fluid"),
}
SAMPLE = phantom.samples("test", 1)[0]
FAMILY = prompt.family("reasoning")


def chat(content: Any) -> str:
    """The body of a well-formed response."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"id": "1", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})


def response(query: Query, seed: int) -> bytes:
    """A response of a judge with changes of the verdict in it, or of the document around it."""
    words = query.rubric.schema["json_schema"]["schema"]["properties"]["verdict"]["enum"]
    inner = json.dumps({"id": query.code(), "reason": "because", "verdict": words[seed % 2]})
    if seed % 3:
        inner = mutated_json(inner, seed).decode("utf-8", "replace")
    return mutated_json(chat(inner), seed) if seed % 5 else chat(inner).encode()


@search(300)
@given(st.sampled_from(sorted(QUERIES)), st.integers(0, 2**32), st.sampled_from([200, 200, 200, 204, 404, 500, 99]))
def test_any_response_is_a_verdict_or_a_named_failure(name: str, seed: int, status: int) -> None:
    query = QUERIES[name]
    try:
        document = openai_client.document(status, response(query, seed))
    except openai_client.NoResponseError as error:
        assert str(error).isprintable()
        return
    prompt_tokens, completion_tokens = verdict.tokens(document)
    assert 0 <= prompt_tokens < 10**9
    assert 0 <= completion_tokens < 10**9
    try:
        result = verdict.read(document, query, query.code())
    except verdict.MalformedError as error:
        assert openai_client.shown(str(error)).isprintable()
        return
    assert isinstance(result.value, bool)
    json.dumps(result.why).encode()


@search(300)
@given(st.integers(0, 2**32))
def test_any_response_of_an_endpoint_is_a_completion_or_a_named_failure(seed: int) -> None:
    generator = random.Random(seed)
    content = generator.choice(["<think>a</think><answer>left</answer>", *ODD])
    try:
        document = openai_client.document(200, mutated_json(chat(content), seed))
        completion = endpoint.completion(SAMPLE, document, "http://127.0.0.1:1/v1", FAMILY)
    except (LowmedError, openai_client.NoResponseError) as error:
        assert len(str(error)) < 2000
        return
    assert isinstance(completion.completion, str)
    assert 0 <= completion.tokens < 10**9


class Server:
    """Sends the same pieces to each client, and closes the connection."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        self.client = openai_client.client(self.url, "--endpoint", endpoint.KEY)

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                with connection, suppress(OSError):
                    connection.recv(65536)
                    for piece in self.pieces:
                        connection.sendall(piece)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve, daemon=True).start()
    yield made
    made.client.close()
    made.listener.shutdown(socket.SHUT_RDWR)
    made.listener.close()


PARTS = (
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 429 Busy\r\n", b"HTTP/1.0 200\r\n", b"HTTP/2 200\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 1000 X\r\n", b"HTTP/1.1 200 \xff\r\n",
    b"Content-Type: text/event-stream\r\n", b"Content-Length: 20\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Content-Encoding: gzip\r\n", b"Content-Encoding: \xff\r\n",
    b"Retry-After: 0\r\n", b"Retry-After: \xb2\r\n", b"Retry-After: 1e9\r\n", b"Retry-After: -1\r\n",
    b"Location: http://\r\n", b"Set-Cookie: a=b; Domain=\xe9\r\n", b"X: " + b"a" * 70000 + b"\r\n", b"X : y\r\n",
    b" folded\r\n", b":\r\n", b"\r\n", b"\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n",
    b"-1\r\n", b"\0", b"\x1b[2J", b"{}", b"[", b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n',
    b"data: [DONE]\n\n", chat("yes").encode(), b"\x1f\x8b\x08\0",
)  # fmt: skip


@search(100)
@given(st.lists(st.sampled_from(PARTS), max_size=9), st.integers(0, 2**32))
def test_any_bytes_on_a_connection_are_a_document_or_a_named_failure(
    server: Server, parts: list[bytes], seed: int
) -> None:
    if seed % 2:
        parts = [b"HTTP/1.1 200 OK\r\n", *parts, b"\r\n", chat("yes").encode()]
    if seed % 7 == 0:
        parts = [mutated(b"".join(parts).decode("latin-1"), seed).encode("latin-1", "replace")]
    server.pieces = parts
    try:
        openai_client.complete(
            server.client, server.url, {}, pauses=(0.0,), seconds=2.0, job=Job(4.0), retry_on=(httpx.RequestError,)
        )
    except (openai_client.NoResponseError, JobEndedError) as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1000


@pytest.mark.parametrize("count", [2**70, -1, 1.5, True, "9", None, [], {}])
def test_a_number_of_tokens_that_is_none_counts_as_nothing(count: Any) -> None:
    document = {"choices": [{"message": {"content": "yes"}}], "usage": {"completion_tokens": count}}
    assert endpoint.completion(SAMPLE, document, "http://127.0.0.1:1/v1", FAMILY).tokens == 0
    assert verdict.tokens(document) == (0, 0)
