"""What lowmed hands to unsloth are arguments that unsloth knows."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import inspect, json, sys
looked_for = []
class Listener:
    def find_spec(self, name, path=None, target=None):
        looked_for.append(name)
sys.meta_path.insert(0, Listener())
from lowmed import recipe
from lowmed.engine import unsloth_backend as backend
from unsloth.models.vision import FastBaseModel
load = set(backend.load_arguments("folder", recipe.Model()))
adapter = set(backend.adapter_arguments(recipe.Lora()))
print(json.dumps({
    "load": sorted(load - set(inspect.signature(backend.FastVisionModel.from_pretrained).parameters)),
    "adapter": sorted(adapter - set(inspect.signature(FastBaseModel.get_peft_model).parameters)),
    "first": next(name for name in looked_for if name in ("unsloth", "transformers", "trl", "peft")),
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="unsloth is not installed")
def test_unsloth_knows_every_argument_and_is_imported_first(tmp_path: Path) -> None:
    environment = os.environ | {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_LOCATION": str(tmp_path / "cache")}
    ended = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found == {"load": [], "adapter": [], "first": "unsloth"}
    assert not (tmp_path / "unsloth_compiled_cache").exists()
