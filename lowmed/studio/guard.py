"""Who may use the local page: this machine's browser with the token, and no other site that is open in it."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOSTS = ("127.0.0.1", "localhost")
STARTUP = "/gradio_api/startup-events"  # gradio calls it when it starts, without a cookie; it shows nothing
# The browser opens connections to this page alone: gradio has buttons that would send images to its makers' site.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; form-action 'none'"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """ASGI middleware: refuses foreign hosts and origins, and requests without the token.

    A foreign host is a name that its owner made point to this machine (DNS rebinding). A foreign origin is another page
    in the same browser. Any port is allowed, because a tunnel (`ssh -L`) may change it.

    Args:
        app: the application.
        token: a part of the URL that is printed; its first use sets a cookie.
        prefix: the path below which a proxy serves the page, without a slash at its end.
        allowed_hosts: names of proxies through which the page may be used, without a port.
    """

    def __init__(self, app: App, token: str, prefix: str = "", allowed_hosts: Sequence[str] = ()) -> None:
        self.app = app
        self.token = token
        self.prefix = prefix
        self.allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        # Cookies of all ports of this machine are one jar: another page must not replace that of this one.
        self.cookie = f"lowmed_{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == "host"]
        origins = [value for name, value in headers if name == "origin"]
        if len(hosts) != 1 or _name(f"http://{hosts[0]}", hosts[0]) not in {*HOSTS, *self.allowed_hosts}:
            await _respond(scope, send, 403, "refused: the page is at 127.0.0.1 only; --allow-host names a proxy")
        elif not all(origin == f"http://{hosts[0]}" or self._is_of_proxy(origin) for origin in origins):
            await _respond(scope, send, 403, "refused: the request comes from another page")
        elif self._has_cookie(headers) or (scope["type"] == "http" and scope["path"] == STARTUP):
            await self.app(scope, receive, _with_policy(send))
        elif self._has_token_in_url(scope):
            cookie = f"{self.cookie}={self.token}; Path={self.prefix}/; HttpOnly; SameSite=Lax"
            await _respond(scope, send, 303, "", ("set-cookie", cookie), ("location", f"{self.prefix}/"))
        else:
            await _respond(scope, send, 401, "open the URL that lowmed printed, with its token")

    def _is_of_proxy(self, origin: str) -> bool:
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and _name(origin, host) in self.allowed_hosts

    def _has_cookie(self, headers: list[tuple[str, str]]) -> bool:
        for value in (value for name, value in headers if name == "cookie"):
            try:
                cookie = SimpleCookie(value).get(self.cookie)
            except CookieError:
                continue
            if cookie and self._is_token(cookie.value):
                return True
        return False

    def _has_token_in_url(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            return False
        try:
            values = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20).get("token", [])
        except ValueError:  # too many fields
            return False
        return len(values) == 1 and self._is_token(values[0])

    def _is_token(self, value: str) -> bool:
        return secrets.compare_digest(value.encode(), self.token.encode())


def _name(url: str, host: str) -> str | None:
    """The name in `name:port`, or None for anything else that a URL may hold there."""
    try:
        parts = urlsplit(url)
        plain = parts.netloc == host and parts.username is None and parts.port != 0 and "@" not in host
        return parts.hostname if plain else None
    except ValueError:
        return None


def _with_policy(send: Send) -> Send:
    async def send_with_policy(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            policy = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"same-origin")]
            message = {**message, "headers": [*message.get("headers", ()), *policy]}
        await send(message)

    return send_with_policy


async def _respond(scope: Scope, send: Send, status: int, text: str, *headers: tuple[str, str]) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    plain = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store"), *headers]
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in plain]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": text.encode()})
