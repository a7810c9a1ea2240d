"""The example script of every export runs without lowmed."""

import base64
import http.server
import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from PIL import Image
from ship import finished

from lowmed import nano
from lowmed.adapter.intake import read_adapter
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run
from lowmed.ship import merge, package
from lowmed.ship.adapter import target_tensors
from lowmed.ship.base_model import base_tensors

WITHOUT_LOWMED = "import runpy, sys; sys.modules['lowmed'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("example") / "run", strength=0.001)


@pytest.mark.slow
def test_the_scripts_of_merged_weights_and_adapter_run(run: Run, tmp_path: Path, commands: Commands) -> None:
    tensors, adapter = base_tensors(nano.folder()), read_adapter(str(run.folder))
    inputs = merge.MergeInputs(nano.folder(), tensors, adapter, target_tensors(adapter, tensors), "original")
    merge.write_shards(inputs, tmp_path / "merged", lambda done, note: None)
    package.write_package(run, nano.folder(), tmp_path / "merged", "merged")
    package.write_package(run, nano.folder(), tmp_path / "adapter", "adapter")
    for file in run.adapter.iterdir():
        (tmp_path / "adapter" / file.name).write_bytes(file.read_bytes())
    sample = phantom.samples("test", 1)[0]
    phantom.open_image(sample.images[0]).save(tmp_path / "image.png")
    completions = []
    for kind, arguments in (("merged", []), ("adapter", [str(nano.folder())])):
        script = tmp_path / kind / "example.py"
        forbidden = tmp_path / "without_lowmed.py"
        forbidden.write_text(WITHOUT_LOWMED)
        command = [str(script), str(tmp_path / "image.png"), sample.question, *arguments]
        done = commands.run_script(tmp_path, str(forbidden), *command)
        assert done.returncode == 0, done.stderr
        completions.append(done.stdout.strip())
    assert all(completion.startswith("<think>") and completion.endswith("</answer>") for completion in completions), (
        completions
    )


def test_the_scripts_are_short_and_do_not_import_lowmed() -> None:
    for kind in ("merged", "adapter", "served", "served_text"):
        lines = package.example(kind).read_text().splitlines()
        code = [line for line in lines[1:] if line]
        assert len([line for line in code if not line.startswith(("import ", "from "))]) <= 20
        assert not any(line.startswith(("import lowmed", "from lowmed")) for line in code)


def served(prefill: str, system: str) -> dict[str, Any]:
    infer = {"question_template": "{question} Answer.", "prefill": prefill, "system": system}
    return {"run": "rarl", "max_new_tokens": 32, "prompts": {"infer": infer}, "pixels": {}}


def request_of(kind: str, folder: Path, content: dict[str, Any], *arguments: str) -> dict[str, Any]:
    """The request that an example sends to a server, with this lowmed.json next to it."""
    requests: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps({"choices": [{"message": {"content": "<answer>yes</answer>"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    (folder / "lowmed.json").write_text(json.dumps(content))
    script = folder / "example.py"
    script.write_bytes(package.example(kind).read_bytes())
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        command = [str(script), f"http://127.0.0.1:{server.server_port}/v1", *arguments]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_LOWMED, *command], capture_output=True, text=True, check=False
        )
        server.shutdown()
    assert (done.returncode, done.stdout.strip()) == (0, "<answer>yes</answer>"), done.stderr
    [request] = requests
    return request


@pytest.mark.parametrize(
    ("size", "prefill", "system"),
    [((64, 64), "", ""), ((900, 700), "<think>", "You are careful."), ((333, 1000), "Step by step:", "")],
)
def test_the_script_for_a_server_resizes_the_image_and_pre_fills_as_in_training(
    tmp_path: Path, size: tuple[int, int], prefill: str, system: str
) -> None:
    policy = PixelPolicy(64)
    content = served(prefill, system) | {"pixels": {"max_pixels": policy.max_pixels}}
    Image.new("RGB", size, "grey").save(tmp_path / "a.png")
    request = request_of("served", tmp_path, content, str(tmp_path / "a.png"), "Is it?")
    messages = request["messages"]
    assert [one["content"] for one in messages if one["role"] != "user"] == [text for text in (system, prefill) if text]
    assert [one["role"] for one in messages] == ["system"] * bool(system) + ["user"] + ["assistant"] * bool(prefill)
    [image, text] = next(one["content"] for one in messages if one["role"] == "user")
    assert (text["text"], request["model"], request["temperature"]) == ("Is it? Answer.", "rarl", 0)
    received = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].split(",")[1])))
    assert received.size == prepare(Image.open(tmp_path / "a.png"), policy, "a.png").size


def test_the_script_for_a_text_only_server_sends_the_prompt_of_training(tmp_path: Path) -> None:
    request = request_of("served_text", tmp_path, served("<think>", "You are careful."), "Is it?", "other")
    assert request == {
        "model": "other",
        "messages": [
            {"role": "system", "content": "You are careful."},
            {"role": "user", "content": "Is it? Answer."},
            {"role": "assistant", "content": "<think>"},
        ],
        "temperature": 0,
        "max_tokens": 32,
    }


def test_a_package_holds_prefill_and_system_message_of_the_prompts(tmp_path: Path) -> None:
    recipe = load_recipe("rarl", ["prompts.prefill='<think>'", "prompts.system=Be careful."], nano=True)
    run = create_run(recipe, "prefilled", out=str(tmp_path / "run"))
    info = package.package_info(run, nano.folder(), "adapter", None, None)
    assert {name: one.prefill for name, one in info.prompts.items()} == {"train": "<think>", "infer": "<think>"}
    for kind in ("merged", "adapter", "served", "served_text"):
        assert '["prefill"]' in package.example(kind).read_text()
        assert '["system"]' in package.example(kind).read_text()
    assert {one.system for one in info.prompts.values()} == {"Be careful."}
