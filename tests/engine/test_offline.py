"""A complete run on the embedded model opens no network connection."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import server

# Records every name lookup and every connection, then raises an error.
LISTENER = """
import os, sys
def hook(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        with open(os.environ["CONNECTIONS"], "a") as file:
            print(event, arguments, file=file)
        raise OSError("refused by the test")
sys.addaudithook(hook)
"""


@pytest.mark.slow
def test_training_and_evaluation_use_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(LISTENER)
    connections = tmp_path / "connections.txt"
    environment = {
        "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}", "CONNECTIONS": str(connections),
        "CI": "", "HF_HUB_OFFLINE": "",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    lookup = "import socket; socket.getaddrinfo('host.invalid', 80)"
    subprocess.run([sys.executable, "-c", lookup], capture_output=True, check=False)
    assert "host.invalid" in connections.read_text()  # the hook works
    connections.unlink()

    small = ("method.max_steps=2", "method.prompts_per_step=2", "method.save_steps=1")
    with server() as commands:  # its imports are watched too
        trained = commands.run(tmp_path, "sft", "--recipe", "rarl-sft", "--nano", *small, "--out", "run")
        assert trained.returncode == 0, trained.stderr
        measured = commands.run(tmp_path, "eval", "run", "--questions", "4", "--controls", "4")
        assert measured.returncode == 0, measured.stderr
    assert not connections.exists(), connections.read_text()
