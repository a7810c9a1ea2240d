"""The page answers over HTTP, is bound to this machine, and removes uploaded images."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from lowmed.errors import SetupError
from lowmed.evaluation.target import open_target
from lowmed.nano import phantom

pytest.importorskip("gradio", reason="the extra `ui` is not installed")


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result: int = free.getsockname()[1]
        return result


@pytest.fixture(scope="module")
def url(port: int) -> Iterator[str]:
    from lowmed.ship import chat

    with chat.serve_page(open_target("nano"), port) as served:
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


@pytest.mark.slow
def test_a_question_about_an_image_is_answered_with_reasoning_and_votes(client: Any, image: Any) -> None:
    answer, reasoning, votes, boxes = client.predict(
        [image], "Which side is the bright disc on?", "reasoning", 4, api_name="/ask"
    )
    assert boxes["value"] is None
    assert answer
    assert reasoning
    assert sum(vote["confidence"] for vote in votes["confidences"]) == pytest.approx(1.0)


@pytest.mark.slow
def test_an_answer_to_the_prompts_for_boxes_is_shown_on_the_image(client: Any, image: Any) -> None:
    *_, boxes = client.predict([image], "Where is the lesion?", "boxes", 0, api_name="/ask")
    with Image.open(boxes["value"]) as drawn:
        assert drawn.size == (84, 84)


@pytest.mark.slow
def test_an_empty_question_is_refused(client: Any, image: Any) -> None:
    with pytest.raises(Exception, match="the question is empty"):
        client.predict([image], " ", "reasoning", 0, api_name="/ask")


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
    from lowmed.ship import chat

    assert client
    temporary = os.environ["GRADIO_TEMP_DIR"]
    with pytest.raises(SetupError, match="the page cannot be served"), chat.serve_page(open_target("nano"), port):
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
        ({"Cookie": "lowmed_chat=1; ="}, 401),
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
