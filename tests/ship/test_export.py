"""What leaves: serve commands within vLLM's limits, GGUF, and a hub that sees nothing unasked."""

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

from lowmed.cli.export import Form
from lowmed.cli.export import export as command
from lowmed.errors import RecipeError, RunError, SetupError
from lowmed.run import Run
from lowmed.ship import adapter as adapters
from lowmed.ship import hub, vllm


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("export") / "run")


def options(file: Path) -> list[str]:
    return shlex.split(file.read_text().partition("exit 1")[2])


def test_vllm_gets_both_forms_with_the_pixels_of_the_run(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "served"
    command(str(run.folder), Form.vllm, out, samples=0)
    merged, beside = options(out / "serve.sh"), options(out / "serve-adapter.sh")
    assert merged[:3] == ["vllm", "serve", "."]
    for each in (merged, beside):
        assert json.loads(each[each.index("--mm-processor-kwargs") + 1]) == {"min_pixels": 3136, "max_pixels": 200704}
        assert json.loads(each[each.index("--limit-mm-per-prompt") + 1]) == {"image": 1, "video": 0}
        assert each[each.index("--host") + 1] == "127.0.0.1"
    assert "--enable-lora" not in merged
    assert beside[beside.index("--max-lora-rank") + 1] == "8"
    assert beside[beside.index("--lora-modules") + 1] == "made=./adapter"
    assert adapters.read(str(out / "adapter")).factors.keys() == adapters.read(str(run.folder)).factors.keys()


@pytest.mark.parametrize(("rank", "served"), [(1, "1"), (4, "8"), (33, "64"), (257, "320"), (512, "512")])
def test_the_rank_is_one_that_vllm_takes(run: Run, rank: int, served: str) -> None:
    lora = replace(adapters.read(str(run.folder)), config={"r": rank})
    vllm.check(lora)
    written = shlex.split(vllm.command(".", "name", run.recipe, images=2, lora=lora, half=True))
    assert written[written.index("--max-lora-rank") + 1] == served
    assert written[written.index("--dtype") + 1] == "half"


def test_what_vllm_can_not_serve_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="up to rank 512"):
        vllm.check(replace(adapters.read(str(run.folder)), config={"r": 513}))
    sight = {
        "base_model.model.model.visual.blocks.0.attn.proj.lora_A.weight": torch.ones(8, 128),
        "base_model.model.model.visual.blocks.0.attn.proj.lora_B.weight": torch.ones(128, 8),
    }
    other = finished.run(tmp_path / "run")
    finished.adapter(other.adapter, finished.factors(0.02) | sight, target_modules=["q_proj", "proj"])
    with pytest.raises(RunError, match="vision tower"):
        command(str(other.folder), Form.vllm, tmp_path / "out", samples=0)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.fixture(scope="module")
def staged(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter as it would go to the hub."""
    out = tmp_path_factory.mktemp("staged") / "upload"
    command(str(run.folder), Form.hub, out, samples=0, repo="me/made")
    return out


def test_a_dry_run_shows_every_file_and_sends_nothing(
    staged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    command(str(staged), Form.hub, repo="me/made", as_json=True)
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["uploaded"] is None
    assert found["private"] is True
    assert found["files"] == {path.name: path.stat().st_size for path in staged.iterdir()}
    assert {"adapter_model.safetensors", "lowmed.json", "example.py", "README.md"} <= found["files"].keys()
    assert all(name in told.err for name in found["files"])


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("notes.md", b"Seen with Erika Mustermann.", "first and last name"),
        ("notes.md", b"asked about MUSTERMANN^ERIKA", "a name as DICOM writes it"),
        ("notes.md", b"born 1954-03-02", "a date"),
        ("notes.md", b"MRN 0048213", "patient's number"),
        ("mueller_anna_19540302.txt", b"", "a date, in the file's name"),
        ("thing.bin", b"\x80\x02pickle\xff", "neither text"),
        ("film", bytes(128) + b"DICM", "a picture"),
    ],
)
def test_what_looks_like_a_patient_is_refused(staged: Path, name: str, content: bytes, told: str) -> None:
    hub.check(staged, [])
    (staged / name).write_bytes(content)
    try:
        with pytest.raises(RunError, match="may tell of patients") as raised:
            hub.check(staged, [])
        assert told in raised.value.where
        assert content[:20].decode("latin-1") not in raised.value.where or not content
        hub.check(staged, [name])
    finally:
        (staged / name).unlink()


def test_pictures_and_links_are_refused(staged: Path) -> None:
    (staged / "more").mkdir()
    Image.new("RGB", (32, 32)).save(staged / "more" / "shown", "PNG")
    (staged / "link").symlink_to("/etc/hostname")
    try:
        assert {(each.file, each.what) for each in hub.findings(staged)} == {
            ("more/shown", "a picture"),
            ("link", "a link, which leads to another place"),
        }
    finally:
        (staged / "more" / "shown").unlink()
        (staged / "more").rmdir()
        (staged / "link").unlink()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as an upload of small files uses."""

    public = False
    status = 200
    asked: list[tuple[str, bytes]]

    def reply(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:  # http.server's name
        self.asked.append((self.path, b""))
        self.reply({"id": "me/made", "private": not self.public, "sha": "a" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, body))
        if self.status != 200:
            self.reply({"error": "no"}, self.status)
        elif self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            answered = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
            self.reply({"files": answered})
        elif "/commit/" in self.path:
            self.reply(
                {
                    "commitUrl": f"{constants.ENDPOINT}/me/made/commit/bbbb",
                    "commitOid": "b" * 40,
                    "pullRequestUrl": None,
                }
            )
        else:
            self.reply({"url": "http://127.0.0.1/me/made", "errors": [], "warnings": []})

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    class Handler(Hub):
        asked: list[tuple[str, bytes]] = []  # noqa: RUF012

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_only_for_this_test")
    yield Handler
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_an_upload_makes_a_private_repository_with_every_file(staged: Path, server: type[Hub]) -> None:
    command(str(staged), Form.hub, repo="me/made", yes=True, as_json=True)
    sent = dict(server.asked)
    created = json.loads(sent["/api/repos/create"])
    assert created.get("visibility", "private" if created.get("private") else "public") == "private"
    commit = next(body for path, body in server.asked if "/commit/" in path)
    paths = {json.loads(line)["value"].get("path") for line in commit.splitlines()}
    assert paths >= {path.name for path in staged.iterdir()}


def test_a_repository_that_others_see_is_not_filled(staged: Path, server: type[Hub]) -> None:
    server.public = True
    with pytest.raises(RunError, match="exists and is public"):
        command(str(staged), Form.hub, repo="me/made", yes=True)
    assert not [path for path, _ in server.asked if "commit" in path]


def test_a_hub_that_says_no_is_told_in_three_lines(staged: Path, server: type[Hub]) -> None:
    server.status = 403
    with pytest.raises(SetupError, match="the hub did not take it"):
        command(str(staged), Form.hub, repo="me/made", yes=True)


def test_an_unmeasured_or_failed_folder_is_not_uploaded(staged: Path) -> None:
    parity = staged / "parity.json"
    before = parity.read_text()
    parity.write_text(json.dumps({"passed": False}))
    try:
        with pytest.raises(RunError, match="not passed its checks"):
            hub.check(staged, [])
    finally:
        parity.write_text(before)
    with pytest.raises(RunError, match="no such file to have been reviewed"):
        hub.check(staged, ["nothing.md"])


def test_what_does_not_go_together_is_refused(run: Run, staged: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no repository"):
        command(str(run.folder), Form.hub, tmp_path / "out")
    with pytest.raises(RecipeError, match="no folder to export to"):
        command(str(run.folder), Form.merged)
    with pytest.raises(RecipeError, match="exported already"):
        command(str(staged), Form.vllm, tmp_path / "out")
    with pytest.raises(RunError, match="no exported folder"):
        hub.listing(tmp_path)
    assert not list(tmp_path.iterdir())


def test_gguf_comes_with_its_record(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    out = tmp_path / "ollama"
    command(str(run.folder), Form.ollama, out, samples=0)
    names = {path.name for path in out.iterdir()}
    assert names >= {"made-f16.gguf", "made-q8_0.gguf", "mmproj-made-f16.gguf", "Modelfile", "lowmed.json", "README.md"}
    assert [path.name for path in tmp_path.iterdir()] == ["ollama"]
