"""The page answers over HTTP, is bound to this machine, and removes uploaded images."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
def client(port: int) -> Iterator[Any]:
    from gradio_client import Client

    from lowmed.ship import chat

    with chat.serve_page(open_target("nano"), port):
        yield Client(f"http://127.0.0.1:{port}", verbose=False, analytics_enabled=False)
    assert not Path(os.environ["GRADIO_TEMP_DIR"]).exists()


@pytest.fixture
def image(tmp_path: Path) -> Any:
    from gradio_client import handle_file

    [sample] = phantom.samples("test", 1)
    phantom.open_image(sample.images[0]).save(tmp_path / "a.png")
    return handle_file(str(tmp_path / "a.png"))


@pytest.mark.slow
def test_a_question_about_an_image_is_answered_with_reasoning_and_votes(client: Any, image: Any) -> None:
    answer, reasoning, votes = client.predict(
        [image], "Which side is the bright disc on?", "reasoning", 4, api_name="/ask"
    )
    assert answer
    assert reasoning
    assert sum(vote["confidence"] for vote in votes["confidences"]) == pytest.approx(1.0)


@pytest.mark.slow
def test_an_empty_question_is_refused(client: Any, image: Any) -> None:
    with pytest.raises(Exception, match="the question is empty"):
        client.predict([image], " ", "reasoning", 0, api_name="/ask")


@pytest.mark.slow
def test_the_page_is_bound_to_this_machine_and_loads_nothing_from_others(client: Any, port: int) -> None:
    import httpx

    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F:{port:04X}"]
    html = httpx.get(f"{client.src}").text
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
