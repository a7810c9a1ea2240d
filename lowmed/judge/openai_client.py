"""The OpenAI-compatible chat interface of a server (vLLM, llama.cpp, Ollama, a cloud): one address, one request."""

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

LONGEST_WAIT_SECONDS = 60.0  # whatever a busy server asks for
LARGEST_ANSWER_BYTES = 4_000_000


class NoAnswerError(Exception):
    """The server gave no usable answer; `status` is None where it gave none at all, or not in time."""

    def __init__(self, what: str, status: int | None = None) -> None:
        super().__init__(what)
        self.status = status


def host(url: str, option: str) -> str:
    """Scheme, name and port of an address that may be spoken to; they are all of it that is ever written down.

    Args:
        url: of the interface, .../v1
        option: that gave it, for error messages.

    Raises:
        SetupError: it is no http address, holds a password, or leads out of this machine while LOWMED_OFFLINE=1.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise SetupError("this is no address", url, f"e.g. {option} http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        fix = "leave out user, password and query; a key comes from the environment"
        raise SetupError("the address holds more than an address", str(parts.hostname), fix)
    if os.environ.get("LOWMED_OFFLINE") == "1" and not _is_this_machine(url):
        raise SetupError("LOWMED_OFFLINE=1 forbids sending anything", url, "serve the model on this machine")
    return f"{parts.scheme}://{parts.netloc}"


def client(url: str, option: str, key: str) -> httpx.Client:
    """What speaks to that address; its key is taken from the environment.

    Args:
        url: as for `host`.
        option: as for `host`.
        key: name of the environment variable.

    Raises:
        SetupError: as `host`.
    """
    host(url, option)
    secret = os.environ.get(key, "").strip()
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    # A proxy has no business with this machine itself.
    return httpx.Client(headers=headers, trust_env=not _is_this_machine(url))


def complete(
    client: httpx.Client,
    url: str,
    body: dict[str, Any],
    *,
    pauses: Sequence[float],
    seconds: float,
    again: tuple[type[Exception], ...] = (),
) -> Any:
    """The server's answer to one chat request; it is asked again while it is busy, as often as there are pauses.

    Args:
        client: speaks to the server.
        url: of the interface, .../v1
        body: the request.
        pauses: seconds before each further try; a busy server may ask for more in `Retry-After`.
        seconds: one try may take, however slowly the answer drips.
        again: errors of the connection after which it is asked again too.

    Raises:
        NoAnswerError: no usable answer, after all tries.
    """
    address = f"{url.rstrip('/')}/chat/completions"
    for pause in (*pauses, None):
        try:
            status, content, wait = _send(client, address, body, seconds)
        except httpx.RequestError as error:
            if pause is None or not isinstance(error, again):
                raise NoAnswerError(f"does not answer: {str(error) or type(error).__name__}") from error
            wait = 0.0
        else:
            if pause is None or not (status == 429 or status >= 500):
                return _document(status, content)
        time.sleep(min(LONGEST_WAIT_SECONDS, max(wait, pause * random.uniform(0.8, 1.2))))
    raise AssertionError("the last try returns or raises")


def _send(client: httpx.Client, address: str, body: dict[str, Any], seconds: float) -> tuple[int, bytes, float]:
    end = time.monotonic() + seconds
    with client.stream("POST", address, json=body, timeout=seconds) as response:
        content = b""
        for piece in response.iter_bytes():
            content += piece
            if time.monotonic() > end:
                raise httpx.ReadTimeout(f"not done after {seconds:g} s")
            if len(content) > LARGEST_ANSWER_BYTES:
                raise NoAnswerError(f"sends more than {LARGEST_ANSWER_BYTES} bytes", response.status_code)
        wait = response.headers.get("Retry-After", "")
        return response.status_code, content, float(wait) if wait.isdecimal() else 0.0


def _document(status: int, content: bytes) -> Any:
    shown = f"answers {status}: {content[:300].decode(errors='replace')}"
    if not 200 <= status < 300:
        raise NoAnswerError(shown, status)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NoAnswerError(shown, status) from error


def _is_this_machine(url: str) -> bool:
    name = urlsplit(url).hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
