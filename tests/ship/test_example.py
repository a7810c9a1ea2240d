"""The script that comes with every export runs where lowmed is not."""

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
from PIL import Image
from ship import finished

from lowmed import nano
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.nano import phantom
from lowmed.run import Run
from lowmed.ship import adapter as adapters
from lowmed.ship import base_model as bases
from lowmed.ship import merge, package

WITHOUT_LOWMED = "import runpy, sys; sys.modules['lowmed'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("example") / "run", strength=0.001)


@pytest.mark.slow
def test_the_merged_and_the_adapter_folder_answer_alike(run: Run, tmp_path: Path) -> None:
    tensors, adapter = bases.tensors(nano.folder()), adapters.read(str(run.folder))
    work = merge.MergeWork(nano.folder(), tensors, adapter, adapters.targets(adapter, tensors), "original")
    merge.write(work, tmp_path / "merged", lambda done, note: None)
    package.write_package(run, nano.folder(), tmp_path / "merged", "merged")
    package.write_package(run, nano.folder(), tmp_path / "adapter", "adapter")
    for file in run.adapter.iterdir():
        (tmp_path / "adapter" / file.name).write_bytes(file.read_bytes())
    sample = phantom.samples("test", 1)[0]
    phantom.picture(sample.images[0]).save(tmp_path / "picture.png")
    said = []
    for form, more in (("merged", []), ("adapter", [str(nano.folder())])):
        script = tmp_path / form / "example.py"
        arguments = [str(script), str(tmp_path / "picture.png"), sample.question, *more]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_LOWMED, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.strip())
    assert all(completion.startswith("<think>") and completion.endswith("</answer>") for completion in said), said


def test_the_scripts_are_short_and_know_nothing_of_lowmed() -> None:
    for form in ("merged", "adapter", "served"):
        lines = Path(package.__file__).with_name(f"example_{form}.py").read_text().splitlines()
        code = [line for line in lines[1:] if line]
        assert len([line for line in code if not line.startswith(("import ", "from "))]) <= 15
        assert not any(line.startswith(("import lowmed", "from lowmed")) for line in code)


@pytest.mark.parametrize("wide_high", [(64, 64), (900, 700), (333, 1000)])
def test_the_script_of_gguf_files_asks_a_server_with_a_picture_as_training_saw_it(
    tmp_path: Path, wide_high: tuple[int, int]
) -> None:
    asked: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            told = json.dumps({"choices": [{"message": {"content": "<answer>yes</answer>"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    policy = PixelPolicy(64)
    about = {
        "run": "rarl", "max_new_tokens": 32, "prompts": {"infer": {"ask_with": "{question} Answer."}},
        "pixels": {"max_pixels": policy.max_pixels},
    }  # fmt: skip
    (tmp_path / "lowmed.json").write_text(json.dumps(about))
    script = tmp_path / "example.py"
    script.write_bytes(Path(package.__file__).with_name("example_served.py").read_bytes())
    Image.new("RGB", wide_high, "grey").save(tmp_path / "a.png")
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        arguments = [str(script), f"http://127.0.0.1:{server.server_port}/v1", str(tmp_path / "a.png"), "Is it?"]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_LOWMED, *arguments], capture_output=True, text=True, check=False
        )
        server.shutdown()
    assert (done.returncode, done.stdout.strip()) == (0, "<answer>yes</answer>"), done.stderr
    [image, text] = asked[0]["messages"][0]["content"]
    assert (text["text"], asked[0]["model"], asked[0]["temperature"]) == ("Is it? Answer.", "rarl", 0)
    shown = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].split(",")[1])))
    assert shown.size == prepare(Image.open(tmp_path / "a.png"), policy, "a.png").size
