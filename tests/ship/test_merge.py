"""LoRA into the base: the same numbers as PEFT's, whole folders or none, and no merge that loses the adapter unseen."""

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
from lowmed.cli.merge import merge as command
from lowmed.engine import device, load
from lowmed.evaluate.target import open_target
from lowmed.recipe import ModelSpec
from lowmed.run import Run
from lowmed.ship import adapter as adapters
from lowmed.ship import base_model as bases
from lowmed.ship import merge, merge_job, weights
from lowmed.ship.merge import MergeWork

PICTURE_PX = (2000, 1500)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("merge") / "run")


def work(run: Run, base: Path | None = None, reference: merge.Reference = "original") -> MergeWork:
    base = base or nano.folder()
    tensors = bases.tensors(base)
    adapter = adapters.read(str(run.folder))
    return MergeWork(base, tensors, adapter, adapters.targets(adapter, tensors), reference)


def silent(done: int, note: str) -> None:
    del done, note


def no_folder(out: Path) -> None:
    assert not out.exists()


def test_merged_weights_are_those_of_peft(run: Run, tmp_path: Path) -> None:
    kept = merge.write(work(run), tmp_path / "out", silent)
    model = AutoModelForImageTextToText.from_pretrained(nano.folder(), dtype=torch.float32)
    model = PeftModel.from_pretrained(model, run.adapter).merge_and_unload()
    expected = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    result = load_file(tmp_path / "out" / "model.safetensors")
    before = load_file(nano.folder() / "model.safetensors")
    assert result.keys() == before.keys()
    changed = 0
    for name, tensor in result.items():
        # Adding in another order may round the last of eight bits the other way.
        torch.testing.assert_close(tensor, expected[weights.canonical(name)], rtol=2**-7, atol=1e-6)
        changed += not torch.equal(tensor, before[name])
    assert changed == len(adapters.read(str(run.folder)).factors) == 28
    assert kept == pytest.approx(1, abs=0.05)


def test_shards_merge_to_the_same_tensors_and_load(run: Run, tmp_path: Path) -> None:
    base = finished.sharded(tmp_path / "base")
    merge.write(work(run), tmp_path / "one", silent)
    merge.write(work(run, base), tmp_path / "five", silent)
    one = load_file(tmp_path / "one" / "model.safetensors")
    five: dict[str, torch.Tensor] = {}
    for file in (tmp_path / "five").glob("*.safetensors"):
        five |= load_file(file)
    assert one.keys() == five.keys()
    assert all(torch.equal(one[name], five[name]) for name in one)
    (tmp_path / "five" / "config.json").write_bytes((base / "config.json").read_bytes())
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "five")
    assert torch.equal(model.lm_head.weight, model.model.language_model.embed_tokens.weight)  # tied, stored once


def test_the_dequantised_reference_is_what_training_saw(run: Run) -> None:
    spec = ModelSpec(name="nano")
    trained_on = dict(load.load_base(spec, device.find_device(spec)).model.named_parameters())
    job = work(run, reference="dequantised")
    for name in sorted(job.targets):
        _, exact, _ = merge.merged(job, name)
        assert torch.equal(exact, merge.unpacked(trained_on[weights.canonical(name)]).cpu()), name


def test_a_killed_merge_goes_on_and_mends_what_was_damaged(run: Run, tmp_path: Path) -> None:
    base, out = finished.sharded(tmp_path / "base"), tmp_path / "out"

    def killed(done: int, note: str) -> None:
        if done == 3:
            raise KeyboardInterrupt(note)

    with pytest.raises(KeyboardInterrupt):
        merge.write(work(run, base), out, killed)
    first, second, third = sorted(out.glob("*.safetensors"))
    second.write_bytes(second.read_bytes()[:-1] + b"?")
    times = [file.stat().st_mtime_ns for file in (first, second, third)]
    kept = merge.write(work(run, base), out, silent)
    again = [file.stat().st_mtime_ns for file in (first, second, third)]
    assert (times[0], times[2]) == (again[0], again[2])
    assert times[1] != again[1]
    whole = merge.write(work(run, base), tmp_path / "whole", silent)
    assert kept == pytest.approx(whole)
    for file in (tmp_path / "whole").glob("*.safetensors"):
        assert weights.digest(file) == weights.digest(out / file.name)


def test_another_merge_is_not_gone_on_with(run: Run, tmp_path: Path) -> None:
    merge.write(work(run), tmp_path, silent)
    before = weights.digest(tmp_path / "model.safetensors")
    merge.write(work(run, reference="dequantised"), tmp_path, silent)
    assert weights.digest(tmp_path / "model.safetensors") != before


def test_the_command_makes_a_folder_that_needs_no_lowmed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged"
    command(str(run.folder), out, samples=4, reference="dequantised", as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["passed"]
    assert result == {**json.loads((out / "parity.json").read_text()), "out": str(out)}
    written, other = result["parity"]
    assert (written["reference"], other["reference"]) == ("dequantised", "original")
    assert written["mean_logit"] < other["mean_logit"]
    assert result["recommended"] == "dequantised"
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

    grid = processor.image_processor(images=[Image.new("RGB", PICTURE_PX)], return_tensors="pt")["image_grid_thw"]
    assert int(grid.prod()) // 4 <= 256  # the run's budget; Qwen2-VL's own is 16,384
    for path in out.iterdir():
        if path.suffix in (".json", ".md", ".yaml", ".py"):
            assert str(tmp_path) not in path.read_text(encoding="utf-8"), path
    assert "library_name: transformers" in (out / "README.md").read_text()
    who = open_target(str(out))
    assert (who.model.load_in, who.family.name, who.run) == ("16bit", "reasoning", None)


def test_an_adapter_too_weak_for_bf16_is_not_put_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weak = finished.run(tmp_path / "run", strength=1e-6)
    out = tmp_path / "merged"
    with pytest.raises(typer.Exit) as ended:
        command(str(weak.folder), out, samples=0)
    assert ended.value.exit_code == 1
    assert "FAIL  the adapter survives rounding" in capsys.readouterr().out
    no_folder(out)
    assert not json.loads((tmp_path / ".merged.merging" / "parity.json").read_text())["passed"]


def test_a_merge_into_4_bits_says_what_it_costs(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "merged"
    with pytest.raises(typer.Exit):
        command(str(run.folder), out, samples=0, into="4bit", as_json=True)
    result = json.loads(capsys.readouterr().out)
    lost = next(check for check in result["checks"] if check["name"] == "the adapter survives rounding")
    assert "of it is left in the 4bit weights" in lost["told"]
    assert not lost["passed"]  # rounding to sixteen levels takes most of so small a change back
    no_folder(out)


def test_unmeasured_is_said(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(str(run.folder), tmp_path / "merged", samples=0)
    assert "NOT MEASURED" in capsys.readouterr().out
    assert json.loads((tmp_path / "merged" / "parity.json").read_text())["measured"] is False


@pytest.mark.slow
def test_memory_stays_within_what_was_said(tmp_path: Path) -> None:
    """A base of a quarter GiB, merged in a process of its own: its peak is that of the libraries and one tensor."""
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
    told = json.dumps(header).encode()
    with (base / "model.safetensors").open("wb") as opened:
        opened.write(struct.pack("<Q", len(told)) + told)
        opened.truncate(8 + len(told) + at)
    finished.adapter(tmp_path / "adapter", finished.factors(0.02, base))
    code = (
        "import sys; from pathlib import Path\n"
        "from lowmed.ship import adapter as adapters, base as bases, merge, preflight\n"
        "from lowmed.engine.device import peak_gib\n"
        "base, folder, out = map(Path, sys.argv[1:])\n"
        "tensors = bases.tensors(base); adapter = adapters.read(str(folder))\n"
        "job = merge.Work(base, tensors, adapter, adapters.targets(adapter, tensors), 'dequantised')\n"
        "need = preflight.need(tensors, job.changed, out, four_bit=False)\n"
        "merge.write(job, out, lambda done, note: None)\n"
        "print(peak_gib('cpu'), need.ram / 2**30)"
    )
    arguments = [str(base), str(tmp_path / "adapter"), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    peak, said = map(float, done.stdout.split())
    assert peak <= said
    assert said < 1.3  # GiB; float32 of all weights and of their changes would alone be 1 GiB more


def test_the_recommendation_goes_by_answers_then_logits() -> None:
    from lowmed.ship.verify import Parity

    near = Parity("original", 8, 0.9, 0.9, 1.0, 0.01)
    assert (
        merge_job.recommended([near, replace(near, reference="dequantised", answers=1.0, mean_logit=0.5)])
        == "dequantised"
    )
    assert merge_job.recommended([near, replace(near, reference="dequantised", mean_logit=0.5)]) == "original"
