"""A page answers over HTTP, is bound to this machine, refuses all others, and removes uploaded images."""

import asyncio
import base64
import io
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from lowmed.errors import LowmedError, SetupError
from lowmed.nano import phantom
from lowmed.studio import page
from lowmed.studio.guard import Guard
from lowmed.studio.server import Address, serve_page

pytest.importorskip("gradio", reason="the extra `ui` is not installed")


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result: int = free.getsockname()[1]
        return result


@pytest.fixture(scope="module")
def url(port: int) -> Iterator[str]:
    with serve_page(page.chat("nano"), Address(port)) as served:
        yield served.url
    assert not Path(os.environ["GRADIO_TEMP_DIR"]).exists()


@pytest.fixture(scope="module")
def cookie(url: str) -> dict[str, str]:
    """What a browser sends after it has opened the printed URL."""
    opened = httpx.get(url)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    assert "HttpOnly" in opened.headers["set-cookie"]
    return {"Cookie": opened.headers["set-cookie"].partition(";")[0]}


@pytest.fixture(scope="module")
def client(port: int, cookie: dict[str, str]) -> Any:
    from gradio_client import Client

    return Client(f"http://127.0.0.1:{port}", verbose=False, analytics_enabled=False, headers=cookie)


@pytest.fixture
def image(tmp_path: Path) -> Any:
    from gradio_client import handle_file

    [sample] = phantom.samples("test", 1)
    phantom.open_image(sample.images[0]).save(tmp_path / "a.png")
    return handle_file(str(tmp_path / "a.png"))


def ask(client: Any, image: Any, question: str, family: str, samples: int) -> tuple[str, list[dict[str, Any]]]:
    message, _question, shown, _hidden = client.predict(
        "nano", [image], question, family, samples, [], [], api_name="/ask"
    )
    return message, shown


def content(message: dict[str, Any]) -> str:
    [part] = message["content"]
    return str(part["text"])


@pytest.mark.slow
def test_a_question_about_an_image_is_answered_with_reasoning_and_votes(client: Any, image: Any) -> None:
    message, (question, answered) = ask(client, image, "Which side is the bright disc on?", "reasoning", 4)
    assert message == ""
    assert content(question).endswith("Which side is the bright disc on?")
    answer, reasoning, votes = content(answered).split("\n\n")
    assert answer.startswith("Answer: ")
    assert reasoning
    shares = re.findall(r"(\d+)%", votes)
    assert votes.startswith("4 sampled completions: ")
    assert sum(map(int, shares)) == 100


@pytest.mark.slow
def test_an_answer_to_the_prompts_for_boxes_is_shown_on_the_image(client: Any, image: Any) -> None:
    _message, (_question, answered) = ask(client, image, "Where is the lesion?", "boxes", 0)
    [drawn] = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="boxes">', content(answered))
    with Image.open(io.BytesIO(base64.b64decode(drawn))) as opened:
        assert opened.size == (84, 84)


@pytest.mark.slow
def test_an_empty_question_is_refused(client: Any, image: Any) -> None:
    message, shown = ask(client, image, " ", "reasoning", 0)
    assert "the question is empty" in message
    assert "<dt>fix</dt>" in message
    assert shown == []


@pytest.mark.slow
def test_the_page_is_bound_to_this_machine_and_loads_nothing_from_others(
    client: Any, port: int, cookie: dict[str, str]
) -> None:
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F:{port:04X}"]
    html = httpx.get(f"{client.src}", headers=cookie).text
    assert "<html" in html
    assert 'src="http' not in html
    assert 'href="http' not in html
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


@pytest.mark.slow
def test_a_taken_port_is_reported(client: Any, port: int) -> None:
    assert client
    temporary = os.environ["GRADIO_TEMP_DIR"]
    with pytest.raises(SetupError, match="the page cannot be served"), serve_page(page.chat("nano"), Address(port)):
        pass
    os.environ["GRADIO_TEMP_DIR"] = temporary


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "config", "gradio_api/info", "gradio_api/upload", "gradio_api/file=/etc/hosts"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:7860"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example@127.0.0.1"}, 403),
        ({"Host": "127.0.0.1:port"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Cookie": ""}, 401),
        ({"Cookie": "lowmed_1=1; ="}, 401),
    ],
)
def test_other_hosts_other_pages_and_requests_without_the_token_are_refused(
    path: str, headers: dict[str, str], status: int, url: str, cookie: dict[str, str]
) -> None:
    address = f"{url.partition('?')[0]}{path}"
    files = {"files": ("foreign.png", b"x")}
    for response in (
        httpx.get(address, headers=cookie | headers),
        httpx.post(address, headers=cookie | headers, files=files),
    ):
        assert response.status_code == status
        assert "<html" not in response.text
    assert not list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("foreign.png"))


@pytest.mark.slow
def test_an_upload_of_the_page_itself_is_accepted_also_through_a_tunnel(url: str, cookie: dict[str, str]) -> None:
    address = f"{url.partition('?')[0]}gradio_api/upload"
    for host in (address.split("/")[2], "localhost:9000"):
        own = cookie | {"Host": host, "Origin": f"http://{host}"}
        response = httpx.post(address, headers=own, files={"files": ("a.png", b"x")})
        assert response.status_code == 200
        assert Path(response.json()[0]).name == "a.png"


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=\u00e9", "?token=x&token=", "?" + "a=1&" * 100])
def test_a_wrong_token_is_refused(query: str, url: str) -> None:
    response = httpx.get(url.partition("?")[0] + query)
    assert response.status_code == 401
    assert "set-cookie" not in response.headers
    assert httpx.post(url).status_code == 401


@pytest.mark.slow
def test_the_browser_may_open_connections_to_the_page_alone(url: str, cookie: dict[str, str]) -> None:
    policy = httpx.get(url.partition("?")[0], headers=cookie).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "*" not in policy


async def through(guard: Guard, host: str, origin: str | None, token: str = "", path: str = "/") -> list[Any]:
    """What a guard answers to one request, as status and headers; 200 is of the page."""
    headers = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin else [])]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": f"token={token}".encode()}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    await guard({**scope, "headers": headers}, receive, send)
    return [sent[0]["status"], dict(sent[0]["headers"])]


def in_thread(answered: Any) -> list[Any]:
    """The result of a coroutine; playwright has a loop in this thread."""
    with ThreadPoolExecutor(1) as pool:
        result: list[Any] = pool.submit(asyncio.run, answered).result()
        return result


HUB = "https://hub.example"


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("hub.example", HUB, 303),
        ("HUB.example:443", f"{HUB}:443", 303),
        ("127.0.0.1:7860", HUB, 303),  # a proxy that rewrites the host
        ("127.0.0.1:7860", "http://127.0.0.1:7860", 303),
        ("hub.example", None, 303),
        ("hub.example", "https://evil.example", 403),
        ("hub.example", "https://hub.example.evil.example", 403),
        ("hub.example", "https://evil.example@hub.example", 403),
        ("hub.example", "https://hub.example@evil.example", 403),
        ("hub.example", "https://hub.example/", 403),
        ("hub.example", "file://hub.example", 403),
        ("hub.example", "null", 403),
        ("evil.example", HUB, 403),
        ("hub.example.evil.example", None, 403),
        ("x@hub.example", None, 403),
    ],
)
def test_a_proxy_is_accepted_by_its_name_alone(host: str, origin: str | None, status: int) -> None:
    async def page_of(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError((scope, receive, send))

    guard = Guard(page_of, "secret", "/user/me/proxy/7860", ["hub.example"])
    answered, headers = in_thread(through(guard, host, origin, "secret"))
    assert answered == status
    if status == 303:
        assert headers[b"location"] == b"/user/me/proxy/7860/"
        assert b"Path=/user/me/proxy/7860/;" in headers[b"set-cookie"]
    closed = Guard(page_of, "secret")
    if "127.0.0.1" not in host or origin == HUB:
        assert in_thread(through(closed, host, origin, "secret"))[0] == 403
    assert in_thread(through(guard, host, origin, "other"))[0] == (401 if status == 303 else 403)


@pytest.mark.parametrize("options", [{"root_path": "http://x"}, {"root_path": "x"}, {"root_path": "/a;Path=/"}])
@pytest.mark.parametrize("host", ["", "*", "https://hub.example", "hub.example/", "hub.example:443", "a b"])
def test_a_path_or_a_name_that_is_none_is_refused(options: dict[str, str], host: str) -> None:
    with pytest.raises(LowmedError, match="not a path"):
        Address(7860, **options)
    with pytest.raises(LowmedError, match="name of a host"):
        Address(7860, allowed_hosts=(host,))
