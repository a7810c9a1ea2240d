"""`lowmed export`: serve commands within vLLM's limits, GGUF, and uploads only with --yes and no patient data."""

import inspect
import json
import shlex
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from ship import finished

from lowmed.adapter.intake import Adapter, read_adapter
from lowmed.cli.export import export as command
from lowmed.errors import RecipeError, RunError, SetupError
from lowmed.run import Run
from lowmed.ship import hub, vllm
from lowmed.ship.export import TARGETS, export_function


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("export") / "run")


def serve_options(file: Path) -> list[str]:
    return shlex.split(file.read_text().partition("exit 1")[2])


def test_vllm_serves_merged_model_and_adapter_with_the_pixel_limits_of_the_run(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "served"
    command(str(run.folder), "vllm", out, questions=0)
    merged, adapter = serve_options(out / "serve.sh"), serve_options(out / "serve-adapter.sh")
    assert merged[:3] == ["vllm", "serve", "."]
    for command_line in (merged, adapter):
        assert json.loads(command_line[command_line.index("--mm-processor-kwargs") + 1]) == {
            "min_pixels": 3136,
            "max_pixels": 200704,
        }
        assert json.loads(command_line[command_line.index("--limit-mm-per-prompt") + 1]) == {"image": 1, "video": 0}
        assert command_line[command_line.index("--host") + 1] == "127.0.0.1"
    assert "--enable-lora" not in merged
    assert adapter[adapter.index("--max-lora-rank") + 1] == "8"
    assert adapter[adapter.index("--lora-modules") + 1] == "made=./adapter"
    assert read_adapter(str(out / "adapter")).layers.keys() == read_adapter(str(run.folder)).layers.keys()


def with_rank(run: Run, rank: int) -> Adapter:
    adapter = read_adapter(str(run.folder))
    return replace(adapter, layers={name: replace(layer, rank=rank) for name, layer in adapter.layers.items()})


@pytest.mark.parametrize(("rank", "served"), [(1, "1"), (4, "8"), (33, "64"), (257, "320"), (512, "512")])
def test_the_rank_is_rounded_up_to_one_of_vllm(run: Run, rank: int, served: str) -> None:
    adapter = with_rank(run, rank)
    vllm.require_servable(adapter)
    written = shlex.split(vllm.serve_command(".", "name", run.recipe, images=2, adapter=adapter, half=True))
    assert written[written.index("--max-lora-rank") + 1] == served
    assert written[written.index("--dtype") + 1] == "half"


def test_an_adapter_that_vllm_cannot_serve_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="up to rank 512"):
        vllm.require_servable(with_rank(run, 513))
    vision = {
        "base_model.model.model.visual.blocks.0.attn.proj.lora_A.weight": torch.ones(8, 128),
        "base_model.model.model.visual.blocks.0.attn.proj.lora_B.weight": torch.ones(128, 8),
    }
    other = finished.run(tmp_path / "run")
    finished.adapter(other.adapter, finished.factors(0.02) | vision, target_modules="all-linear")
    with pytest.raises(RunError, match="vision tower"):
        command(str(other.folder), "vllm", tmp_path / "out", questions=0)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.fixture(scope="module")
def staged(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter folder of an upload."""
    out = tmp_path_factory.mktemp("staged") / "upload"
    command(str(run.folder), "hub", out, questions=0, repo="me/made")
    return out


def test_without_yes_every_file_is_listed_and_nothing_is_sent(
    staged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    command(str(staged), "hub", repo="me/made", as_json=True)
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["format"], report["passed"], report["url"]) == (1, True, None)
    assert report["private"] is True
    assert report["files"] == {path.name: path.stat().st_size for path in staged.iterdir()}
    assert {"adapter_model.safetensors", "lowmed.json", "example.py", "README.md"} <= report["files"].keys()
    assert all(name in printed.err for name in report["files"])


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("notes.md", b"Seen with Erika Mustermann.", "first and last name"),
        ("notes.md", b"question about MUSTERMANN^ERIKA", "a name as DICOM writes it"),
        ("notes.md", b"born 1954-03-02", "a date"),
        ("notes.md", b"MRN 0048213", "patient's number"),
        ("mueller_anna_19540302.txt", b"", "a date, in the file's name"),
        ("thing.bin", b"\x80\x02pickle\xff", "unknown type"),
        ("film", bytes(128) + b"DICM", "an image"),
    ],
)
def test_possible_patient_data_is_refused_and_not_printed(staged: Path, name: str, content: bytes, kind: str) -> None:
    hub.check_upload(staged, ())
    (staged / name).write_bytes(content)
    try:
        with pytest.raises(RunError, match="may contain patient data") as raised:
            hub.check_upload(staged, ())
        assert kind in raised.value.where
        assert content[:20].decode("latin-1") not in raised.value.where or not content
        hub.check_upload(staged, (name,))
    finally:
        (staged / name).unlink()


def test_images_and_links_are_refused(staged: Path) -> None:
    (staged / "more").mkdir()
    Image.new("RGB", (32, 32)).save(staged / "more" / "shown", "PNG")
    (staged / "link").symlink_to("/etc/hostname")
    try:
        assert {(finding.file, finding.kind) for finding in hub.search(staged)} == {
            ("more/shown", "an image"),
            ("link", "a symbolic link"),
        }
    finally:
        (staged / "more" / "shown").unlink()
        (staged / "more").rmdir()
        (staged / "link").unlink()


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's API that an upload of small files uses."""

    public = False
    status = 200
    requests: list[tuple[str, bytes]]

    def respond(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:  # http.server's name
        self.requests.append((self.path, b""))
        self.respond({"id": "me/made", "private": not self.public, "sha": "a" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append((self.path, body))
        if self.status != 200:
            self.respond({"error": "no"}, self.status)
        elif self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self.respond({"files": modes})
        elif "/commit/" in self.path:
            self.respond(
                {
                    "commitUrl": f"{constants.ENDPOINT}/me/made/commit/bbbb",
                    "commitOid": "b" * 40,
                    "pullRequestUrl": None,
                }
            )
        else:
            self.respond({"url": "http://127.0.0.1/me/made", "errors": [], "warnings": []})

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    class Handler(Hub):
        requests: list[tuple[str, bytes]] = []  # noqa: RUF012

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_only_for_this_test")
    yield Handler
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_an_upload_creates_a_private_repository_with_every_file(staged: Path, server: type[Hub]) -> None:
    command(str(staged), "hub", repo="me/made", yes=True, as_json=True)
    sent = dict(server.requests)
    created = json.loads(sent["/api/repos/create"])
    assert created.get("visibility", "private" if created.get("private") else "public") == "private"
    commit = next(body for path, body in server.requests if "/commit/" in path)
    paths = {json.loads(line)["value"].get("path") for line in commit.splitlines()}
    assert paths >= {path.name for path in staged.iterdir()}


def test_an_existing_public_repository_is_refused(staged: Path, server: type[Hub]) -> None:
    server.public = True
    with pytest.raises(RunError, match="exists and is public"):
        command(str(staged), "hub", repo="me/made", yes=True)
    assert not [path for path, _ in server.requests if "commit" in path]


def test_a_refusal_of_the_hub_is_a_setup_error(staged: Path, server: type[Hub]) -> None:
    server.status = 403
    with pytest.raises(SetupError, match="the hub refused the upload"):
        command(str(staged), "hub", repo="me/made", yes=True)


def test_a_folder_that_failed_a_check_is_not_uploaded(staged: Path) -> None:
    parity = staged / "parity.json"
    before = parity.read_text()
    parity.write_text(json.dumps({"format": 1, "passed": False}))
    try:
        with pytest.raises(RunError, match="not passed its checks"):
            hub.check_upload(staged, ())
        parity.write_text(json.dumps({"format": 2, "passed": True}))
        with pytest.raises(RunError, match=r"newer version of lowmed \(format 2, this version reads 1\)"):
            hub.check_upload(staged, ())
        parity.write_text("{}")
        with pytest.raises(RunError, match=r"parity\.json cannot be read"):
            hub.check_upload(staged, ())
    finally:
        parity.write_text(before)
    with pytest.raises(RunError, match="a reviewed file does not exist"):
        hub.check_upload(staged, ("nothing.md",))


def test_missing_and_contradictory_options_are_refused(run: Run, staged: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no repository"):
        command(str(run.folder), "hub", tmp_path / "out")
    with pytest.raises(RecipeError, match="no output folder"):
        command(str(run.folder), "merged")
    with pytest.raises(RecipeError, match="exported already"):
        command(str(staged), "vllm", tmp_path / "out")
    with pytest.raises(RunError, match="not an exported folder"):
        hub.require_exported(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_ollama_export_holds_files_modelfile_and_records(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    out = tmp_path / "ollama"
    command(str(run.folder), "ollama", out, questions=0)
    names = {path.name for path in out.iterdir()}
    assert names >= {"made-f16.gguf", "made-q8_0.gguf", "mmproj-made-f16.gguf", "Modelfile", "lowmed.json", "README.md"}
    assert [path.name for path in tmp_path.iterdir()] == ["ollama"]


def test_every_target_is_a_function_of_a_request() -> None:
    for target in TARGETS:
        assert list(inspect.signature(export_function(target)).parameters) == ["request"]
    with pytest.raises(RecipeError, match="no export target `onnx`"):
        export_function("onnx")


@pytest.mark.parametrize("to", ["merged", "vllm", "gguf", "hub"])
def test_a_missing_run_is_named(tmp_path: Path, to: str) -> None:
    with pytest.raises(RunError, match="the run does not exist"):
        command(str(tmp_path / "none"), to, tmp_path / "out", repo="me/made")
    with pytest.raises(RunError, match="the run does not exist"):
        command(str(tmp_path / "none"), to, repo="me/made")
    assert not list(tmp_path.iterdir())
