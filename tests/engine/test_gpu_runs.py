"""Complete runs of the embedded model on a GPU; `pytest -m gpu -s` prints measurements."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lowmed
from safetensors.torch import load_file

from lowmed.data.load import load as load_data
from lowmed.data.split import split_data
from lowmed.engine import device, train
from lowmed.recipe.io import load_recipe
from lowmed.run import create_run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
METHODS = [("sft", "rarl-sft"), ("grpo", "rarl")]
SMALL = ["method.max_steps=4", "method.save_steps=2", "method.prompts_per_step=4"]


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


@pytest.mark.parametrize(("kind", "recipe"), METHODS)
@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
def test_a_short_run_trains_on_the_gpu(kind: str, recipe: str, load_in: str, lowmed: Lowmed, tmp_path: Path) -> None:
    process = lowmed(
        kind, "--recipe", recipe, "--nano", "method.max_steps=3", f"model.load_in={load_in}", "--out", "run"
    )
    assert process.returncode == 0, process.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    print(record["card"], record["precision"], record["seconds"], "s", record["peak_gib"], "GiB", record["batch"])
    assert record["precision"] in ("bf16", "fp16")
    assert record["card"] != "CPU"
    assert rows(tmp_path / "run")[-1]["adapter_norm"] > 0


def test_a_run_is_evaluated_and_a_dry_run_measured_on_the_gpu(lowmed: Lowmed, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="the intervals of an evaluation need scipy")
    trained = lowmed("grpo", "--recipe", "rarl", "--nano", *SMALL, "method.beta=0.04", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    measured = lowmed("eval", "run", "--questions", "20", "--samples", "2", "--json")
    assert measured.returncode == 0, measured.stderr
    dry_run = lowmed("plan", "--recipe", "rarl", "--nano", "--dry-run")
    print(dry_run.stdout)
    assert dry_run.returncode == 0, dry_run.stderr
    [stored] = (tmp_path / "dry_runs").glob("*.json")
    assert min(json.loads(stored.read_text())["gib"].values()) > 0


@pytest.mark.parametrize(("kind", "recipe"), METHODS)
@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
def test_a_run_is_evaluated_during_training_on_the_gpu(
    kind: str, recipe: str, load_in: str, lowmed: Lowmed, tmp_path: Path
) -> None:
    settings = [*SMALL, "data.dev=0.1", "dev.eval_steps=2", "dev.questions=16", f"model.load_in={load_in}"]
    process = lowmed(kind, "--recipe", recipe, "--nano", *settings, "--out", "run")
    assert process.returncode == 0, process.stderr
    lines = rows(tmp_path / "run", "dev.jsonl")
    print(*lines, sep="\n")
    assert [line["step"] for line in lines] == [0, 2, 4]
    # The precision of the GPU may make base and a zero adapter differ in the last digits.
    assert abs(lines[0]["kl_base"]) < 1e-3
    assert all(math.isfinite(line["entropy"]) and line["entropy"] > 0 for line in lines)
    # nano answers about half of the questions before it is trained, on a CPU too.
    assert 0.2 < lines[0]["accuracy"] < 0.9


@pytest.mark.parametrize(("kind", "recipe"), METHODS)
def test_a_resumed_run_ends_near_the_uninterrupted_one(kind: str, recipe: str, lowmed: Lowmed, tmp_path: Path) -> None:
    """Near but not equal to the bit: a GPU may add in another order each time."""
    process = lowmed(kind, "--recipe", recipe, "--nano", *SMALL, "--out", "uninterrupted")
    assert process.returncode == 0, process.stderr
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "uninterrupted", broken)
    for folder in ("adapter", "checkpoints/checkpoint-4"):
        shutil.rmtree(broken / folder)
    record = json.loads((broken / "run.json").read_text())
    (broken / "run.json").write_text(json.dumps(record | {"status": "stopped", "steps": 2}))
    process = lowmed(kind, "--resume", "broken")
    assert process.returncode == 0, process.stderr
    assert [row["step"] for row in rows(broken)] == [1, 2, 3, 4]
    one, other = (
        load_file(tmp_path / run / "adapter" / "adapter_model.safetensors") for run in ("uninterrupted", "broken")
    )
    first, second = (torch.cat([each[name].flatten() for name in sorted(each)]) for each in (one, other))
    near = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
    print(f"{kind}: adapters alike {near}, equal to the bit: {torch.equal(first, second)}")
    assert near > 0.99
    if kind == "grpo":
        questions = [[(row["id"], row["wording"]) for row in rows(tmp_path / run, "rollouts.jsonl")] for run in
                 ("uninterrupted", "broken")]  # fmt: skip
        assert questions[0] == questions[1]
        completions = [
            [row["completion"] for row in rows(tmp_path / run, "rollouts.jsonl")] for run in ("uninterrupted", "broken")
        ]
        print("equal completions:", sum(a == b for a, b in zip(*completions, strict=True)), "of", len(completions[0]))


@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
@pytest.mark.parametrize("name", ["rarl-sft", "rarl"])
def test_half_precision_as_on_a_t4_trains(
    name: str, load_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(name, [*SMALL, f"model.load_in={load_in}"], nano=True)
    fp16 = replace(device.find_device(recipe.model), precision="fp16")
    monkeypatch.setattr(device, "find_device", lambda _model: fp16)
    run = create_run(recipe, "half", out=str(tmp_path / "run"))
    data_split = split_data(load_data(recipe.data.name, recipe.data.path), recipe.data, recipe.seed)
    loaded = train.load_for_training(recipe)
    assert train.train(run, loaded, data_split, report=lambda _step, _row: None) == "finished"
    print([(row["loss"], row["grad_norm"]) for row in rows(run.folder)])  # inf: the scaler skipped this step
    assert all(math.isfinite(row["loss"]) for row in rows(run.folder))
    assert rows(run.folder)[-1]["adapter_norm"] > 0
    assert {weight.dtype for weight in loaded.model.parameters() if weight.requires_grad} == {torch.float32}
