"""Client of an OpenAI-compatible chat API (vLLM, llama.cpp, Ollama, a cloud): one URL, one request at a time."""

import ipaddress
import json
import os
import random
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from lowmed.errors import SetupError

MAX_WAIT_SECONDS = 60.0  # upper bound on a busy server's Retry-After
MAX_RESPONSE_BYTES = 4_000_000


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


def client(url: str, option: str, key: str) -> httpx.Client:
    """An HTTP client for that URL; its key is read from an environment variable.

    Args:
        url: as for `host`.
        option: as for `host`.
        key: name of that variable.

    Raises:
        SetupError: as `host`.
    """
    host(url, option)
    secret = os.environ.get(key, "").strip()
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    # Requests to this machine never go through a proxy.
    return httpx.Client(headers=headers, trust_env=not _is_this_machine(url))


def complete(
    client: httpx.Client,
    url: str,
    body: dict[str, Any],
    *,
    pauses: Sequence[float],
    seconds: float,
    retry_on: tuple[type[Exception], ...] = (),
) -> Any:
    """The server's response to one chat request, retried while it is busy, once per pause.

    Args:
        client: the result of `client`.
        url: URL of the API, .../v1
        body: the request.
        pauses: seconds before each retry; a busy server may ask for more by `Retry-After`.
        seconds: timeout of one try, however slowly the response arrives.
        retry_on: connection errors that are retried too.

    Raises:
        NoResponseError: no usable response after all tries.
    """
    address = f"{url.rstrip('/')}/chat/completions"
    for pause in (*pauses, None):
        try:
            status, content, wait = _send(client, address, body, seconds)
        except httpx.RequestError as error:
            if pause is None or not isinstance(error, retry_on):
                raise NoResponseError(f"does not respond: {str(error) or type(error).__name__}") from error
            wait = 0.0
        else:
            if pause is None or not (status == 429 or status >= 500):
                return _document(status, content)
        time.sleep(min(MAX_WAIT_SECONDS, max(wait, pause * random.uniform(0.8, 1.2))))
    raise AssertionError("the last try returns or raises")


def _send(client: httpx.Client, address: str, body: dict[str, Any], seconds: float) -> tuple[int, bytes, float]:
    end = time.monotonic() + seconds
    with client.stream("POST", address, json=body, timeout=seconds) as response:
        content = b""
        for piece in response.iter_bytes():
            content += piece
            if time.monotonic() > end:
                raise httpx.ReadTimeout(f"not done after {seconds:g} s")
            if len(content) > MAX_RESPONSE_BYTES:
                raise NoResponseError(f"sends more than {MAX_RESPONSE_BYTES} bytes", response.status_code)
        wait = response.headers.get("Retry-After", "")
        return response.status_code, content, float(wait) if wait.isdecimal() else 0.0


def _document(status: int, content: bytes) -> Any:
    shown = f"responds with {status}: {content[:300].decode(errors='replace')}"
    if not 200 <= status < 300:
        raise NoResponseError(shown, status)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NoResponseError(shown, status) from error


def _is_this_machine(url: str) -> bool:
    name = urlsplit(url).hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
