"""Nothing leaves the machine: a whole run on the embedded model asks nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Lowmed

# Every name that is looked up and every connection that is made is written down, then refused.
LISTENER = """
import os, sys
def hook(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        with open(os.environ["ASKED"], "a") as file:
            print(event, arguments, file=file)
        raise OSError("refused by the test")
sys.addaudithook(hook)
"""


@pytest.mark.slow
def test_training_and_evaluation_look_nothing_up(lowmed: Lowmed, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(LISTENER)
    asked = tmp_path / "asked.txt"
    environment = {
        "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}", "ASKED": str(asked), "CI": "", "HF_HUB_OFFLINE": "",
    }  # fmt: skip
    look_up = "import socket; socket.getaddrinfo('nowhere.invalid', 80)"
    subprocess.run([sys.executable, "-c", look_up], env=os.environ | environment, capture_output=True, check=False)
    assert "nowhere.invalid" in asked.read_text()  # the listener listens
    asked.unlink()

    small = ("method.max_steps=2", "method.prompts_per_step=2", "method.save_steps=1")
    trained = lowmed("sft", "--recipe", "rarl-sft", "--nano", *small, "--out", "run", **environment)
    assert trained.returncode == 0, trained.stderr
    measured = lowmed("eval", "run", "--questions", "4", **environment)
    assert measured.returncode == 0, measured.stderr
    assert not asked.exists(), asked.read_text()
