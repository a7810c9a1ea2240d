"""What only a card can show, on the embedded model."""

import json
from pathlib import Path

import pytest
import torch
from conftest import Lowmed

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")]


@pytest.mark.parametrize(("kind", "recipe"), [("sft", "rarl-sft"), ("grpo", "rarl")])
@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
def test_a_short_run_trains_on_the_card(kind: str, recipe: str, load_in: str, lowmed: Lowmed, tmp_path: Path) -> None:
    ended = lowmed(kind, "--recipe", recipe, "--nano", "method.updates=3", f"model.load_in={load_in}", "--out", "run")
    assert ended.returncode == 0, ended.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["precision"] in ("bf16", "fp16")
    assert record["card"] != "CPU"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["adapter_norm"] > 0
    measured = lowmed("eval", "run", "--limit", "20", "--json")
    assert measured.returncode == 0, measured.stderr
