"""A model behind a local HTTP server, through `lowmed eval`."""

import base64
import contextlib
import http.server
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from lowmed import prompt
from lowmed.cli.evaluate import evaluate as command
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.errors import LowmedError, RecipeError, SetupError
from lowmed.evaluation import endpoint
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.run import create_run

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]
TEST = phantom.samples("test", 12)
FAMILY = prompt.family("reasoning")


def _response(text: str, finish_reason: str = "stop") -> tuple[int, bytes]:
    choice = {"message": {"content": text}, "finish_reason": finish_reason}
    return 200, json.dumps({"choices": [choice], "usage": {"completion_tokens": 7}}).encode()


@contextlib.contextmanager
def _serving(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    requests: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
            status, content = answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()


def _ask(url: str, **more: Any) -> list[Any]:
    answer = endpoint.answerer(url, "m", FAMILY, PixelPolicy(4), 32)
    return list(
        answer(TEST, phantom.open_image, copies=more.get("copies", 1), temperature=more.get("temperature", 0.0))
    )


def _eval(*arguments: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_the_server_receives_the_prompt_and_the_prepared_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_API_KEY", "k")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # requests to this machine never go through a proxy
    with _serving(lambda body: _response("<answer>yes</answer>")) as (url, requests):
        completions = _ask(url)
    assert sorted(completion.sample.id for completion in completions) == sorted(sample.id for sample in TEST)
    assert (completions[0].completion, completions[0].tokens, completions[0].finish_reason) == (
        "<answer>yes</answer>",
        7,
        "stop",
    )
    first = next(body for body in requests if TEST[0].question in body["messages"][0]["content"][1]["text"])
    assert (first["path"], first["key"], first["temperature"], first["max_tokens"]) == (
        "/v1/chat/completions", "Bearer k", 0.0, 32,
    )  # fmt: skip
    image_part, text = first["messages"][0]["content"]
    assert text == prompt.build_messages(FAMILY, TEST[0])[0]["content"][1]
    image = Image.open(io.BytesIO(base64.b64decode(image_part["image_url"]["url"].partition(",")[2])))
    assert image.size == (56, 56)  # 4 tokens of 28 x 28: the pixel policy holds here too
    prepared = prepare(phantom.open_image(TEST[0].images[0]), PixelPolicy(4))
    assert image.convert("RGB").tobytes() == prepared.tobytes()


def test_earlier_turns_are_sent_with_the_image_in_the_first() -> None:
    sample = replace(TEST[0], history=(("Which study?", "A CT."),))
    with _serving(lambda body: _response("<answer>yes</answer>")) as (url, requests):
        answerer = endpoint.answerer(url, "m", FAMILY, PixelPolicy(4), 32)
        list(answerer([sample], phantom.open_image, copies=1, temperature=0.0))
    messages = requests[0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [part["type"] for part in messages[0]["content"]] == ["image_url", "text"]
    assert messages[1:] == prompt.build_messages(FAMILY, sample)[1:]


@pytest.mark.parametrize(
    "response", ["A ring.</think><answer>yes</answer>", "Well.\n<think>A ring.</think><answer>yes</answer>"]
)
def test_a_prefill_is_sent_as_the_message_to_continue(response: str) -> None:
    family = replace(FAMILY, prefill="Well.\n<think>")
    with _serving(lambda body: _response(response)) as (url, requests):
        answerer = endpoint.answerer(url, "m", family, PixelPolicy(4), 32)
        completions = list(answerer(TEST[:1], phantom.open_image, copies=1, temperature=0.0))
    assert requests[0]["messages"][1:] == [{"role": "assistant", "content": "Well.\n<think>"}]
    assert (requests[0]["continue_final_message"], requests[0]["add_generation_prompt"]) == (True, False)
    assert completions[0].completion == "<think>A ring.</think><answer>yes</answer>"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            {"content": "<answer>yes</answer>", "reasoning_content": "A ring."},
            "<think>A ring.</think><answer>yes</answer>",
        ),
        ({"content": "<answer>yes</answer>", "reasoning": "A ring."}, "<think>A ring.</think><answer>yes</answer>"),
        ({"content": None, "reasoning": "A ri"}, "<think>A ri"),  # cut off by the token limit
        ({"content": "<think>A ring.</think>yes", "reasoning_content": "A ring."}, "<think>A ring.</think>yes"),
        ({"content": "yes", "reasoning_content": None, "reasoning": 7}, "yes"),
    ],
)
def test_a_think_block_that_the_server_moved_is_put_back(message: dict[str, Any], text: str) -> None:
    content = {"choices": [{"message": message}]}
    assert endpoint.completion(TEST[0], content, "http://127.0.0.1:1/v1", FAMILY).completion == text
    prefilled = replace(FAMILY, prefill="Well.\n<think>")
    if text.startswith("<think>"):
        assert endpoint.completion(TEST[0], content, "http://127.0.0.1:1/v1", prefilled).completion == text


def test_without_a_prefill_the_request_is_the_plain_one() -> None:
    with _serving(lambda body: _response("yes")) as (url, requests):
        _ask(url)
    assert {"continue_final_message", "add_generation_prompt"}.isdisjoint(requests[0])
    assert all(len(body["messages"]) == 1 for body in requests)


def test_sampled_completions_are_drawn_independently_and_truncation_is_recorded() -> None:
    with _serving(lambda body: _response("", "length")) as (url, requests):
        completions = _ask(url, copies=3, temperature=0.7)
    assert Counter(completion.sample.id for completion in completions) == {sample.id: 3 for sample in TEST}
    assert {completion.finish_reason for completion in completions} == {"length"}
    assert {(body["temperature"], "seed" in body) for body in requests} == {(0.7, False)}


def test_a_busy_server_is_retried_and_a_rejection_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_SECONDS", (0.0, 0.0))
    left = iter([503, 429])

    def busy(_body: dict[str, Any]) -> tuple[int, bytes]:
        status = next(left, 200)
        return (status, b"busy") if status != 200 else _response("yes")

    with _serving(busy) as (url, _):
        assert len(_ask(url)) == len(TEST)
    for answer in ((404, b"no model m"), (500, b"broken"), (200, b"not json"), (200, b"{}"), (200, b"[]")):
        with _serving(lambda body, answer=answer: answer) as (url, _), pytest.raises(SetupError) as raised:  # type: ignore[misc]
            _ask(url)
        assert url in raised.value.where


def test_a_missing_server_is_an_error() -> None:
    with pytest.raises(SetupError, match="does not respond"):
        _ask("http://127.0.0.1:9/v1")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://here/v1", "", "http:///v1"])
def test_an_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(SetupError, match="URL is invalid"):
        endpoint.answerer(url, "m", FAMILY, PixelPolicy(4), 32)


def test_offline_mode_rejects_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    with pytest.raises(SetupError, match="forbids"):
        endpoint.answerer("http://models.example/v1", "m", FAMILY, PixelPolicy(4), 32)
    endpoint.answerer("http://[::1]:8000/v1", "m", FAMILY, PixelPolicy(4), 32)


def test_eval_of_an_endpoint_resumes_after_an_error_without_repeating_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = iter([False] * 20)

    def answer(_body: dict[str, Any]) -> tuple[int, bytes]:
        return _response("<answer>yes</answer>") if not next(broken, True) else (400, b"out of memory")

    with _serving(answer) as (url, requests):
        served = ("--endpoint", url, "--model", "m", "--out", "e")
        arguments = (*served, "--on", "phantom", "--questions", "15", "--controls", "10")
        with pytest.raises(SetupError, match="out of memory"):
            _eval(*arguments)
        stored = len((tmp_path / "e" / "endpoint.jsonl").read_text().splitlines())
        assert 0 < stored <= 20
        broken = iter([False] * 10_000)
        result = json.loads(_eval(*arguments, "--json").stdout)
        count = len(requests)
        assert json.loads(_eval(*arguments, "--json").stdout) == result
        assert len(requests) == count
    assert result["splits"]["test"]["questions"] == 15
    assert result["controls"]["endpoint"]["blind"]["lenient"]["effect"] == 0
    assert json.loads(_eval(*arguments, "--rescore", "--json").stdout) == result  # the server is stopped
    with pytest.raises(LowmedError, match="other settings"):
        _eval(*arguments, "--questions", "14")


def test_several_sources_are_marked_by_their_relation_to_training(
    tmp_path: Path, vqa_rad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from lowmed.data.load import load
    from lowmed.data.run_identity import store_data
    from lowmed.data.split import split_data

    run = create_run(load_recipe("rarl", [], nano=True), "rarl-nano", out="run")
    run.update(status="finished", data_digest=load("phantom").digest, seconds=1.0, steps=1, card="CPU", peak_gib=1.0)
    store_data(run.folder, split_data(load("phantom"), run.recipe.data, run.recipe.seed))
    with _serving(lambda body: _response("<answer>no</answer>")) as (url, _):
        arguments = ("run", "--endpoint", url, "--model", "m", "--questions", "12", "--controls", "0")
        result = _eval(*arguments, "--on", f"phantom,vqa-rad={vqa_rad}", "--full")
        assert "phantom test    seen in training" in result.stdout
        assert "phantom unseen  unseen modality (ultrasound)" in result.stdout
        assert "vqa-rad test    unseen" in result.stdout
        assert "macro" in result.stdout.splitlines()[-1]
        assert "m on vqa-rad (unseen)" in result.stdout
        reports = json.loads(_eval(*arguments, "--on", f"phantom,vqa-rad={vqa_rad}", "--json").stdout)
        assert [report["seen"] for report in reports] == ["seen in training", "unseen"]
        with pytest.raises(RecipeError, match="several sources"):
            _eval(*arguments, "--on", "phantom,vqa-rad", "--path", "x")


def test_an_endpoint_without_a_model_name_is_rejected() -> None:
    with pytest.raises(RecipeError, match="must be used together"):
        _eval("--endpoint", "http://127.0.0.1:9/v1", "--on", "phantom")
    with pytest.raises(RecipeError, match="nothing to evaluate"):
        _eval("--on", "phantom")
