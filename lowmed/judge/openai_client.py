"""Client of an OpenAI-compatible chat API (vLLM, llama.cpp, Ollama, a cloud): one URL, one request at a time."""

import ipaddress
import json
import os
import random
import socket
import ssl
import time
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from lowmed.errors import SetupError
from lowmed.judge.job import Job

KEYS = ("LOWMED_JUDGE_KEY", "LOWMED_API_KEY")
MAX_WAIT_SECONDS = 60.0  # upper bound on a busy server's Retry-After
MAX_RESPONSE_BYTES = 4_000_000
SHOWN_CHARACTERS = 200
SHORTEST_KEY = 6  # a shorter one is no secret, and may be a part of any text


class NoResponseError(Exception):
    """The server sent no usable response; `status` is None if it sent none at all, or not in time."""

    def __init__(self, what: str, status: int | None = None) -> None:
        super().__init__(what)
        self.status = status


def host(url: str, option: str) -> str:
    """Scheme, name and port of a valid URL; no other part of it is ever stored.

    Args:
        url: URL of the API, .../v1
        option: the command-line option that set it, for error messages.

    Raises:
        SetupError: it is not an http URL, holds a password, or names another machine while LOWMED_OFFLINE=1.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SetupError("the URL is invalid", url, f"e.g. {option} http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        fix = "remove user, password and query; the key is read from the environment"
        raise SetupError("the URL holds a user, a password or a query", str(parts.hostname), fix)
    if os.environ.get("LOWMED_OFFLINE") == "1" and not _is_this_machine(url):
        raise SetupError("LOWMED_OFFLINE=1 forbids requests to other machines", url, "serve the model on this machine")
    return f"{parts.scheme}://{parts.netloc}"


class Client(httpx.Client):
    """An HTTP client; `kept` is the socket of its open connection, if it is of one thread and keeps one."""

    keeps = False
    kept: socket.socket | None = None


def client(url: str, option: str, key: str, *, of_one_thread: bool = False) -> Client:
    """An HTTP client for that URL; its key is read from an environment variable.

    Args:
        url: as for `host`.
        option: as for `host`.
        key: name of that variable.
        of_one_thread: no other thread uses the client, so requests can share a connection.

    Raises:
        SetupError: as `host`.
    """
    host(url, option)
    secret = os.environ.get(key, "").strip()
    headers = {"Accept-Encoding": "identity"}  # a few compressed bytes could fill the memory
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    # Requests to this machine never go through a proxy. Requests of several threads have a connection each, which their
    # limits can end.
    limits = httpx.Limits(max_keepalive_connections=int(of_one_thread))
    result = Client(headers=headers, trust_env=not _is_this_machine(url), limits=limits, verify=_tls())
    result.keeps = of_one_thread
    return result


@cache
def _tls() -> ssl.SSLContext:
    """One for all clients: reading the certificates takes 30 ms."""
    return httpx.create_ssl_context()


def redacted(text: str) -> str:
    """A server's text without the keys, which it may repeat."""
    for key in (os.environ.get(name, "").strip() for name in KEYS):
        if len(key) >= SHORTEST_KEY:
            text = text.replace(key, "[key]")
    return text


def shown(text: str) -> str:
    """A server's text for a message: one short line without keys and control characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in redacted(text)).split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}..."


def complete(
    client: Client,
    url: str,
    body: dict[str, Any],
    *,
    pauses: Sequence[float],
    seconds: float,
    job: Job,
    retry_on: tuple[type[Exception], ...] = (),
) -> Any:
    """The server's response to one chat request, retried while it is busy, once per pause.

    Args:
        client: the result of `client`.
        url: URL of the API, .../v1
        body: the request.
        pauses: seconds before each retry; a busy server may ask for more by `Retry-After`.
        seconds: timeout of one try, however slowly the response arrives. After it there is no other try.
        job: the job of the request, whose end also ends the request and its pauses.
        retry_on: connection errors that are retried too.

    Raises:
        NoResponseError: no usable response after all tries.
        JobEndedError: the time of the job is over.
    """
    address = f"{url.rstrip('/')}/chat/completions"
    for pause in (*pauses, None):
        left = job.left()
        try:
            status, content, wait = _send(client, address, body, min(seconds, left), job)
        except httpx.RequestError as error:
            job.left()
            if pause is None or not isinstance(error, retry_on) or isinstance(error, httpx.ReadTimeout):
                why = shown(str(error)) or type(error).__name__
                raise NoResponseError(f"does not respond: {why}") from error
            wait = 0.0
        else:
            if pause is None or not (status == 429 or status >= 500):
                return document(status, content)
        job.pause(min(MAX_WAIT_SECONDS, max(wait, pause * random.uniform(0.8, 1.2))))
    raise AssertionError("the last try returns or raises")


def _send(client: Client, address: str, body: dict[str, Any], seconds: float, job: Job) -> tuple[int, bytes, float]:
    end = time.monotonic() + seconds
    with job.limit(seconds) as watch:

        def trace(event: str, info: dict[str, Any]) -> None:
            if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
                opened = info["return_value"].get_extra_info("socket")
                client.kept = opened if client.keeps else None
                watch(opened)

        if client.kept:
            watch(client.kept)

        try:
            with client.stream("POST", address, json=body, timeout=seconds, extensions={"trace": trace}) as response:
                content = _content(response)
        except httpx.RequestError as error:
            if time.monotonic() >= end:  # the limit shut the connection down
                raise httpx.ReadTimeout(f"not done after {seconds:.3g} s") from error
            raise
        wait = response.headers.get("Retry-After", "")
        return response.status_code, content, float(wait[:9]) if wait.isascii() and wait.isdecimal() else 0.0


def _content(response: httpx.Response) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise NoResponseError("sends compressed data, which was not requested", response.status_code)
    content = b""
    for piece in response.iter_raw():
        content += piece
        if len(content) > MAX_RESPONSE_BYTES:
            raise NoResponseError(f"sends more than {MAX_RESPONSE_BYTES} bytes", response.status_code)
    return content


def document(status: int, content: bytes) -> Any:
    """The JSON document of a response, without the keys that it may repeat.

    Raises:
        NoResponseError: the status is that of a failure, or the content is not JSON.
    """
    if 200 <= status < 300:
        try:
            return _without_keys(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise NoResponseError(_shown_response(status, content), status) from error
    raise NoResponseError(_shown_response(status, content), status)


def _shown_response(status: int, content: bytes) -> str:
    return f"responds with {status}: {shown(content[:4000].decode(errors='replace'))}"


def _without_keys(document: Any) -> Any:
    match document:
        case str():
            return redacted(document)
        case list():
            return [_without_keys(part) for part in document]
        case dict():
            return {redacted(key): _without_keys(part) for key, part in document.items()}
    return document


def _is_this_machine(url: str) -> bool:
    name = urlsplit(url).hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
