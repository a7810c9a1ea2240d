"""The merge gives PEFT's values, creates complete folders or none, and detects a merge that loses the adapter."""

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from peft import PeftModel
from safetensors.torch import load_file
from ship import finished
from transformers import AutoModelForImageTextToText, AutoProcessor

from lowmed import nano
from lowmed.adapter.intake import read_adapter
from lowmed.cli.merge import merge as command
from lowmed.engine import device, load
from lowmed.evaluation.target import open_target
from lowmed.recipe import ModelSpec
from lowmed.run import Run
from lowmed.ship import merge, merge_job, weights
from lowmed.ship.adapter import target_tensors
from lowmed.ship.base_model import base_tensors
from lowmed.ship.merge import MergeInputs
from lowmed.ship.records import Parity, Reference

IMAGE_PX = (2000, 1500)
pytestmark = pytest.mark.usefixtures("forked_scripts")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("merge") / "run")


def inputs(run: Run, base: Path | None = None, reference: Reference = "original") -> MergeInputs:
    base = base or nano.folder()
    tensors = base_tensors(base)
    adapter = read_adapter(str(run.folder))
    return MergeInputs(base, tensors, adapter, target_tensors(adapter, tensors), reference)


def silent(done: int, note: str) -> None:
    del done, note


def no_folder(out: Path) -> None:
    assert not out.exists()


def test_merged_weights_equal_those_of_peft(run: Run, tmp_path: Path) -> None:
    retained = merge.write_shards(inputs(run), tmp_path / "out", silent)
    model = AutoModelForImageTextToText.from_pretrained(nano.folder(), dtype=torch.float32)
    model = PeftModel.from_pretrained(model, run.adapter).merge_and_unload()
    expected = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    result = load_file(tmp_path / "out" / "model.safetensors")
    before = load_file(nano.folder() / "model.safetensors")
    assert result.keys() == before.keys()
    changed = 0
    loaded = weights.loaded_names(result)
    for name, tensor in result.items():
        # Another order of additions may round the last of the eight bits differently.
        torch.testing.assert_close(tensor, expected[loaded[name]], rtol=2**-7, atol=1e-6)
        changed += not torch.equal(tensor, before[name])
    assert changed == len(read_adapter(str(run.folder)).layers) == 28
    assert retained == pytest.approx(1, abs=0.05)


def test_shards_merge_to_the_same_tensors_and_load(run: Run, tmp_path: Path) -> None:
    base = finished.sharded(tmp_path / "base")
    merge.write_shards(inputs(run), tmp_path / "one", silent)
    merge.write_shards(inputs(run, base), tmp_path / "five", silent)
    one = load_file(tmp_path / "one" / "model.safetensors")
    five: dict[str, torch.Tensor] = {}
    for file in (tmp_path / "five").glob("*.safetensors"):
        five |= load_file(file)
    assert one.keys() == five.keys()
    assert all(torch.equal(one[name], five[name]) for name in one)
    (tmp_path / "five" / "config.json").write_bytes((base / "config.json").read_bytes())
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "five")
    assert torch.equal(model.lm_head.weight, model.model.language_model.embed_tokens.weight)  # tied, stored once


def test_the_dequantized_reference_equals_the_base_in_training(run: Run) -> None:
    spec = ModelSpec(name="nano")
    training_base = dict(load.load_base(spec, device.find_device(spec)).model.named_parameters())
    dequantized = inputs(run, reference="dequantized")
    loaded = weights.loaded_names(dequantized.base)
    for name in sorted(dequantized.targets):
        reference = merge.merge_tensor(dequantized, name).reference
        assert torch.equal(reference, merge.dequantize(training_base[loaded[name]]).cpu()), name


def test_a_killed_merge_resumes_and_rewrites_a_damaged_shard(run: Run, tmp_path: Path) -> None:
    base, out = finished.sharded(tmp_path / "base"), tmp_path / "out"

    def killed(done: int, note: str) -> None:
        if done == 3:
            raise KeyboardInterrupt(note)

    with pytest.raises(KeyboardInterrupt):
        merge.write_shards(inputs(run, base), out, killed)
    first, second, third = sorted(out.glob("*.safetensors"))
    second.write_bytes(second.read_bytes()[:-1] + b"?")
    times = [file.stat().st_mtime_ns for file in (first, second, third)]
    retained = merge.write_shards(inputs(run, base), out, silent)
    again = [file.stat().st_mtime_ns for file in (first, second, third)]
    assert (times[0], times[2]) == (again[0], again[2])
    assert times[1] != again[1]
    uninterrupted = merge.write_shards(inputs(run, base), tmp_path / "uninterrupted", silent)
    assert retained == pytest.approx(uninterrupted)
    for file in (tmp_path / "uninterrupted").glob("*.safetensors"):
        assert weights.file_digest(file) == weights.file_digest(out / file.name)


def test_a_merge_with_other_inputs_does_not_resume(run: Run, tmp_path: Path) -> None:
    merge.write_shards(inputs(run), tmp_path, silent)
    before = weights.file_digest(tmp_path / "model.safetensors")
    merge.write_shards(inputs(run, reference="dequantized"), tmp_path, silent)
    assert weights.file_digest(tmp_path / "model.safetensors") != before


def test_the_command_creates_a_folder_that_does_not_need_lowmed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged"
    command(str(run.folder), out, questions=4, reference="dequantized", as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["passed"]
    assert result == {**json.loads((out / "parity.json").read_text()), "out": str(out)}
    assert result["format"] == 1
    written, other = result["parity"]
    assert (written["reference"], other["reference"]) == ("dequantized", "original")
    assert written["mean_logit_difference"] < other["mean_logit_difference"]
    assert result["recommended"] == "dequantized"
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "processor_config.json", "preprocessor_config.json", "README.md", "LICENSE",
        "lowmed.json", "example.py", "recipe.yaml", "parity.json",
    }  # fmt: skip
    assert "merge.json" not in names
    processor = AutoProcessor.from_pretrained(out)
    from PIL import Image

    grid = processor.image_processor(images=[Image.new("RGB", IMAGE_PX)], return_tensors="pt")["image_grid_thw"]
    assert int(grid.prod()) // 4 <= 256  # the run's budget; Qwen2-VL's own is 16,384
    for path in out.iterdir():
        if path.suffix in (".json", ".md", ".yaml", ".py"):
            assert str(tmp_path) not in path.read_text(encoding="utf-8"), path
    assert "library_name: transformers" in (out / "README.md").read_text()
    target = open_target(str(out))
    assert (target.model.load_in, target.family.name, target.run) == ("16bit", "reasoning", None)


def test_a_merge_that_bf16_rounds_away_is_not_moved_to_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = finished.run(tmp_path / "run", strength=1e-6)
    out = tmp_path / "merged"
    with pytest.raises(typer.Exit) as raised:
        command(str(weak.folder), out, questions=0)
    assert raised.value.exit_code == 1
    assert "FAIL  rounding keeps the adapter" in capsys.readouterr().out
    no_folder(out)
    assert not json.loads((tmp_path / ".merged.merging" / "parity.json").read_text())["passed"]


def test_a_merge_into_4_bits_reports_its_loss(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "merged"
    with pytest.raises(typer.Exit):
        command(str(run.folder), out, questions=0, into="4bit", as_json=True)
    result = json.loads(capsys.readouterr().out)
    lost = next(check for check in result["checks"] if check["name"] == "rounding keeps the adapter")
    assert "of it is retained in the 4bit weights" in lost["detail"]
    assert not lost["passed"]  # rounding to sixteen levels undoes most of such a small change
    no_folder(out)


def test_a_merge_without_a_comparison_is_marked(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(str(run.folder), tmp_path / "merged", questions=0)
    assert "NOT MEASURED" in capsys.readouterr().out
    assert json.loads((tmp_path / "merged" / "parity.json").read_text())["measured"] is False


@pytest.mark.slow
def test_peak_memory_stays_within_the_estimate(tmp_path: Path) -> None:
    """Merge a base of 0.25 GiB in a new process: its peak is the libraries and one tensor."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    side, layers = 2048, 32
    header, at = {}, 0
    for layer in range(layers):
        size = 2 * side * side
        name = f"model.layers.{layer}.mlp.up_proj.weight"
        header[name] = {"dtype": "BF16", "shape": [side, side], "data_offsets": [at, at + size]}
        at += size
    content = json.dumps(header).encode()
    with (base / "model.safetensors").open("wb") as opened:
        opened.write(struct.pack("<Q", len(content)) + content)
        opened.truncate(8 + len(content) + at)
    finished.adapter(tmp_path / "adapter", finished.factors(0.02, base))
    code = (
        "import sys; from pathlib import Path\n"
        "from lowmed.ship import merge, preflight\n"
        "from lowmed.adapter.intake import read_adapter\n"
        "from lowmed.ship.adapter import target_tensors\n"
        "from lowmed.ship.base_model import base_tensors\n"
        "from lowmed.engine.device import peak_gib\n"
        "from lowmed.models import FAMILIES\n"
        "base, folder, out = map(Path, sys.argv[1:])\n"
        "tensors = base_tensors(base); adapter = read_adapter(str(folder)).named_for(FAMILIES['llama'])\n"
        "inputs = merge.MergeInputs(base, tensors, adapter, target_tensors(adapter, tensors), 'dequantized')\n"
        "needed = preflight.estimate(tensors, inputs.changed, out, four_bit=False)\n"
        "merge.write_shards(inputs, out, lambda done, note: None)\n"
        "print(peak_gib('cpu'), needed.ram_bytes / 2**30)"
    )
    arguments = [str(base), str(tmp_path / "adapter"), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    peak, estimate = map(float, done.stdout.split())
    assert peak <= estimate
    assert estimate < 1.3  # GiB; float32 copies of all weights and deltas would need 1 GiB more


def test_the_recommended_reference_has_the_most_same_answers_then_the_nearest_logits() -> None:
    near = Parity("original", 8, 0.9, 0.9, 1.0, 0.01)
    assert (
        merge_job.recommended_reference(
            [near, replace(near, reference="dequantized", same_answers=1.0, mean_logit_difference=0.5)]
        )
        == "dequantized"
    )
    assert (
        merge_job.recommended_reference([near, replace(near, reference="dequantized", mean_logit_difference=0.5)])
        == "original"
    )
