"""A model behind a real HTTP server on this machine, through the whole of `lowmed eval`."""

import base64
import contextlib
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from lowmed import prompt
from lowmed.cli.evaluate import evaluate as command
from lowmed.data.image.policy import PixelPolicy
from lowmed.errors import LowmedError, RecipeError, SetupError
from lowmed.evaluate import endpoint
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.run import create_run

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]
TEST = phantom.samples("test", 12)
FAMILY = prompt.family("reasoning")


def _said(text: str, finish_reason: str = "stop") -> tuple[int, bytes]:
    choice = {"message": {"content": text}, "finish_reason": finish_reason}
    return 200, json.dumps({"choices": [choice], "usage": {"completion_tokens": 7}}).encode()


@contextlib.contextmanager
def _serving(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    asked: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
            status, content = answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def _ask(url: str, **more: Any) -> list[Any]:
    answer = endpoint.answerer(url, "m", FAMILY, PixelPolicy(4), 32)
    return list(answer(TEST, phantom.picture, copies=more.get("copies", 1), temperature=more.get("temperature", 0.0)))


def _eval(*arguments: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_the_server_gets_the_prompt_and_the_prepared_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_API_KEY", "k")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a proxy has no business with this machine itself
    with _serving(lambda body: _said("<answer>yes</answer>")) as (url, asked):
        completions = _ask(url)
    assert [completion.sample for completion in completions] == TEST
    assert (completions[0].completion, completions[0].tokens, completions[0].finish_reason) == (
        "<answer>yes</answer>",
        7,
        "stop",
    )
    first = next(body for body in asked if TEST[0].question in body["messages"][0]["content"][1]["text"])
    assert (first["path"], first["key"], first["temperature"], first["max_tokens"]) == (
        "/v1/chat/completions", "Bearer k", 0.0, 32,
    )  # fmt: skip
    picture, text = first["messages"][0]["content"]
    assert text == prompt.build_messages(FAMILY, TEST[0])[0]["content"][1]
    image = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].partition(",")[2])))
    assert image.size == (56, 56)  # 4 tokens of 28 x 28: the pixel policy holds here too


def test_sampled_replies_are_drawn_anew_each_time_and_a_cut_one_is_told() -> None:
    with _serving(lambda body: _said("", "length")) as (url, asked):
        completions = _ask(url, copies=3, temperature=0.7)
    assert [completion.sample for completion in completions] == [sample for sample in TEST for _ in range(3)]
    assert {completion.finish_reason for completion in completions} == {"length"}
    assert {(body["temperature"], "seed" in body) for body in asked} == {(0.7, False)}


def test_a_busy_server_is_asked_again_and_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_SECONDS", (0.0, 0.0))
    left = iter([503, 429])

    def busy(_body: dict[str, Any]) -> tuple[int, bytes]:
        status = next(left, 200)
        return (status, b"busy") if status != 200 else _said("yes")

    with _serving(busy) as (url, _):
        assert len(_ask(url)) == len(TEST)
    for answer in ((404, b"no model m"), (500, b"broken"), (200, b"not json"), (200, b"{}"), (200, b"[]")):
        with _serving(lambda body, answer=answer: answer) as (url, _), pytest.raises(SetupError) as raised:  # type: ignore[misc]
            _ask(url)
        assert url in raised.value.where


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(SetupError, match="does not answer"):
        _ask("http://127.0.0.1:9/v1")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://here/v1", "", "http:///v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SetupError, match="no address"):
        endpoint.answerer(url, "m", FAMILY, PixelPolicy(4), 32)


def test_offline_nothing_is_sent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    with pytest.raises(SetupError, match="forbids"):
        endpoint.answerer("http://models.example/v1", "m", FAMILY, PixelPolicy(4), 32)
    endpoint.answerer("http://[::1]:8000/v1", "m", FAMILY, PixelPolicy(4), 32)


def test_eval_of_an_endpoint_goes_on_after_an_error_and_is_not_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = iter([False] * 20)

    def answer(_body: dict[str, Any]) -> tuple[int, bytes]:
        return _said("<answer>yes</answer>") if not next(broken, True) else (400, b"out of memory")

    with _serving(answer) as (url, asked):
        served = ("--endpoint", url, "--model", "m", "--out", "e")
        arguments = (*served, "--on", "phantom", "--limit", "15", "--controls", "10")
        with pytest.raises(SetupError, match="out of memory"):
            _eval(*arguments)
        stored = len((tmp_path / "e" / "endpoint.jsonl").read_text().splitlines())
        assert 0 < stored <= 20
        broken = iter([False] * 10_000)
        result = json.loads(_eval(*arguments, "--json").stdout)
        count = len(asked)
        assert json.loads(_eval(*arguments, "--json").stdout) == result
        assert len(asked) == count
    assert result["splits"]["test"]["questions"] == 15
    assert result["controls"]["endpoint"]["blind"]["lenient"]["lost"] == 0
    assert json.loads(_eval(*arguments, "--rescore", "--json").stdout) == result  # the server is gone
    with pytest.raises(LowmedError, match="other settings"):
        _eval(*arguments, "--limit", "14")


def test_several_sources_are_marked_by_what_the_run_was_trained_on(
    tmp_path: Path, vqa_rad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from lowmed.data.load import load

    run = create_run(load_recipe("rarl", [], nano=True), "rarl-nano", out="run")
    run.update(status="finished", data_digest=load("phantom").digest, seconds=1.0, steps=1, card="CPU", peak_gib=1.0)
    with _serving(lambda body: _said("<answer>no</answer>")) as (url, _):
        asked = ("run", "--endpoint", url, "--model", "m", "--limit", "12", "--controls", "0")
        result = _eval(*asked, "--on", f"phantom,vqa-rad={vqa_rad}")
        assert "phantom test    seen in training" in result.stdout
        assert "phantom unseen  unseen modality (ultrasound)" in result.stdout
        assert "vqa-rad test    unseen" in result.stdout
        assert "macro" in result.stdout.splitlines()[-1]
        assert "m on vqa-rad (unseen)" in result.stdout
        reports = json.loads(_eval(*asked, "--on", f"phantom,vqa-rad={vqa_rad}", "--json").stdout)
        assert [report["seen"] for report in reports] == ["seen in training", "unseen"]
        with pytest.raises(RecipeError, match="several sources"):
            _eval(*asked, "--on", "phantom,vqa-rad", "--path", "x")


def test_an_endpoint_without_a_model_name_is_refused() -> None:
    with pytest.raises(RecipeError, match="go together"):
        _eval("--endpoint", "http://127.0.0.1:9/v1", "--on", "phantom")
    with pytest.raises(RecipeError, match="nothing to evaluate"):
        _eval("--on", "phantom")
