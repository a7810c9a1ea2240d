"""`lowmed serve`: the command for each server, what is refused, and transformers' real server."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from ship import finished

from lowmed.api.merge import merge
from lowmed.api.serve import serve
from lowmed.errors import RunError, SetupError
from lowmed.run import Run
from lowmed.ship import vllm
from lowmed.ship.serve import ServeCommand, serve_command

needs_extra = pytest.mark.skipif(not find_spec("openai"), reason="needs the extra `serve`")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("runs") / "made")


@pytest.fixture(scope="module")
def merged(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "made-merged"
    assert merge(run.folder, out, questions=0).passed
    return out


@pytest.fixture
def copy(merged: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("lowmed.json", "recipe.yaml", "generation_config.json"):
        shutil.copyfile(merged / name, folder / name)
    return folder


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _install(programs: Path, name: str) -> None:
    (programs / name).write_text("#!/bin/sh\n")
    (programs / name).chmod(0o755)


def test_a_run_is_refused_with_the_commands_that_merge_and_serve_it(run: Run) -> None:
    with pytest.raises(RunError, match="servers load merged weights") as raised:
        serve(run.folder)
    assert raised.value.fix == (
        f"lowmed merge {run.folder} --out {run.folder}-merged; then lowmed serve {run.folder}-merged"
    )


def test_a_folder_without_merged_weights_is_refused(run: Run, copy: Path, tmp_path: Path) -> None:
    package = json.loads((copy / "lowmed.json").read_text())
    (copy / "lowmed.json").write_text(json.dumps(package | {"kind": "adapter"}))
    for folder in (run.adapter, copy):
        with pytest.raises(RunError, match="not a folder with merged weights"):
            serve(folder)
    with pytest.raises(RunError, match="does not exist"):
        serve(tmp_path / "missing")


@needs_extra
def test_a_merged_folder_is_served_by_transformers_under_its_name_alone(copy: Path, programs: Path) -> None:
    _install(programs, "vllm")
    command = serve_command(copy, None, "127.0.0.1", 8123)
    assert (command.server, command.model, command.folder) == ("transformers", "copy", copy.parent)
    assert command.command[:2] == (sys.executable, "-c")
    assert command.command[3:] == ("serve", "copy", "--host", "127.0.0.1", "--port", "8123")
    assert command.environment["HF_HUB_OFFLINE"] == "1"
    assert "one request at a time" in command.why
    assert command.evaluate == f"lowmed eval {copy} --endpoint http://127.0.0.1:8123/v1 --model copy --on SOURCE"
    assert command.notes == ()


@needs_extra
def test_what_changes_sampled_completions_or_opens_the_server_is_noted(copy: Path) -> None:
    (copy / "generation_config.json").write_text(json.dumps({"top_k": 1, "top_p": 1.0, "repetition_penalty": 1.05}))
    local, remote = serve_command(copy, None, "127.0.0.1", 8123), serve_command(copy, None, "0.0.0.0", 8123)  # noqa: S104
    assert "sets top_k 1, repetition_penalty 1.05, and" in local.notes[0]
    assert "other machines can reach" in remote.notes[0]
    assert remote.url == "http://127.0.0.1:8123/v1"


@needs_extra
def test_what_the_server_of_transformers_cannot_do_is_refused(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "a@b")
    with pytest.raises(SetupError, match="as a revision"):
        serve(tmp_path / "a@b")
    recipe = (copy / "recipe.yaml").read_text()
    (copy / "recipe.yaml").write_text(re.sub(r"(?m)^  prefill: .*$", "  prefill: <think>", recipe))
    with pytest.raises(SetupError, match="cannot continue a message"):
        serve(copy)


def _vllm_folder(run: Run, copy: Path) -> Path:
    vllm.write_serve_scripts(copy, run, _adapter(run), images=1)
    return copy


def _adapter(run: Run) -> Any:
    from lowmed.adapter.intake import read_adapter

    return read_adapter(str(run.adapter))


def test_an_export_to_vllm_is_served_with_the_settings_of_its_script(run: Run, copy: Path, programs: Path) -> None:
    folder = _vllm_folder(run, copy)
    with pytest.raises(SetupError, match="vllm is not installed"):
        serve(folder, server="vllm")
    _install(programs, "vllm")
    command = serve_command(folder, None, "::1", 9001)
    assert (command.server, command.model, command.folder) == ("vllm", run.record.name, folder)
    assert command.command[:3] == ("vllm", "serve", ".")
    options = dict(zip(command.command[3::2], command.command[4::2], strict=True))
    assert (options["--host"], options["--port"], options["--served-model-name"]) == ("::1", "9001", run.record.name)
    assert options["--generation-config"] == "vllm"
    assert json.loads(options["--mm-processor-kwargs"])["max_pixels"] == 200704
    assert command.environment["VLLM_NO_USAGE_STATS"] == "1"
    assert command.url == "http://[::1]:9001/v1"
    (folder / "serve.sh").write_text("#!/bin/sh\nexit 1\nrm -rf .\n")
    with pytest.raises(SetupError, match="not the script that lowmed wrote"):
        serve(folder)


def test_gguf_files_are_served_by_llama_cpp_with_the_pixel_limits(copy: Path, programs: Path) -> None:
    for name in ("made-q8_0.gguf", "made-f16.gguf", "mmproj-made-f16.gguf"):
        (copy / name).touch()
    with pytest.raises(SetupError, match=r"llama\.cpp is not installed"):
        serve(copy)
    with pytest.raises(SetupError, match="GGUF files, for llama"):
        serve(copy, server="transformers")
    _install(programs, "llama-server")
    command = serve_command(copy, None, "127.0.0.1", 9001).command
    assert command[:3] == ("llama-server", "-m", "made-f16.gguf")
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--mmproj"], options["--port"]) == ("mmproj-made-f16.gguf", "9001")
    pixels = json.loads((copy / "lowmed.json").read_text())["pixels"]
    assert options["--image-max-tokens"] == str(pixels["max_pixels"] // 784)
    assert options["--reasoning-format"] == "none"


def test_gguf_files_of_a_text_only_model_are_served_without_anything_of_images(copy: Path, programs: Path) -> None:
    (copy / "made-f16.gguf").touch()
    _install(programs, "llama-server")
    command = serve_command(copy, None, "127.0.0.1", 9001).command
    assert command[:3] == ("llama-server", "-m", "made-f16.gguf")
    assert not [option for option in command if "mmproj" in option or "image" in option]


@pytest.mark.parametrize(("server", "fix"), [("vllm", "--to vllm"), ("llama.cpp", "--to gguf")])
def test_a_server_without_its_files_is_refused_with_the_export(copy: Path, server: Any, fix: str) -> None:
    with pytest.raises(SetupError) as raised:
        serve(copy, server=server)
    assert fix in raised.value.fix


@needs_extra
def test_a_port_in_use_is_refused_before_the_model_is_loaded(copy: Path, lowmed: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = lowmed("serve", str(copy), "--port", str(taken.getsockname()[1]))
    assert result.returncode == 2
    assert "cannot listen there" in result.stderr
    assert lowmed("serve", str(copy), "--server", "tgi").stderr.startswith("error: unknown server `tgi`")


def _completions(file: Path) -> dict[str, str]:
    rows = (json.loads(line) for line in file.read_text().splitlines())
    return {f"{row['split']} {row['id']}": row["completion"] for row in rows}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(command: ServeCommand, process: "subprocess.Popen[str]") -> None:
    transport = httpx.HTTPTransport(retries=60)  # of connections, with growing pauses
    with httpx.Client(transport=transport, trust_env=False, timeout=60) as client:
        response = client.get(command.url.removesuffix("/v1") + "/health")
    assert (response.status_code, process.poll()) == (200, None)


@needs_extra
@pytest.mark.slow
def test_the_served_model_answers_as_the_merged_folder_does(merged: Path, lowmed: Any, tmp_path: Path) -> None:
    port = _free_port()
    command = serve(merged, port=port)
    with subprocess.Popen(
        [sys.executable, "-m", "lowmed", "serve", str(merged), "--port", str(port)],
        env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr
        printed = [process.stderr.readline() for _ in range(4)]
        assert command.line in printed[1]
        assert command.url in printed[2]
        options = ("--on", "phantom", "--questions", "8", "--controls", "0")
        own = lowmed("eval", str(merged), *options, "--out", "own")
        _wait_until_ready(command, process)
        served = lowmed(
            "eval", str(merged), "--endpoint", command.url, "--model", command.model, *options, "--out", "e"
        )
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert (own.returncode, served.returncode) == (0, 0)
    here, there = _completions(tmp_path / "own" / "base.jsonl"), _completions(tmp_path / "e" / "endpoint.jsonl")
    assert here.keys() == there.keys()
    same = sum(here[key] == there[key] for key in here) / len(here)
    assert same >= 0.8  # a token of nearly equal probability differs with the batch
