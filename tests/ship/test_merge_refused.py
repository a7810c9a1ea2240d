"""A merge that is not possible is refused before anything is written."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from ship import finished

from lowmed import nano
from lowmed.adapter.intake import read_adapter
from lowmed.cli.merge import merge as command
from lowmed.errors import LowmedError, RecipeError, RunError, SetupError
from lowmed.run import Run
from lowmed.ship import preflight
from lowmed.ship.base_model import base_tensors, check_revision
from lowmed.ship.records import Requirements


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("merge") / "run")


def no_folder(out: Path) -> None:
    assert not out.exists()


def refused(run: Run, out: Path, kind: type[LowmedError], message: str, **options: Any) -> None:
    with pytest.raises(kind, match=message) as raised:
        command(str(run.folder), out, questions=0, **options)
    assert len(str(raised.value).splitlines()) >= 3
    assert not list(out.parent.glob(f".{out.name}*"))
    no_folder(out)


def test_damaged_bases_and_unknown_options_are_refused(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(run, out, RecipeError, "no reference", reference="nearest")
    refused(run, out, RecipeError, "no precision `8bit`", into="8bit")
    base = finished.sharded(tmp_path / "base")
    shard = base / "model-00002-of-00005.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    refused(run, out, RunError, "damaged or truncated", base=str(base))
    shard.unlink()
    refused(run, out, RunError, "a shard of the model is missing", base=str(base))
    shard.write_bytes((base / "model-00001-of-00005.safetensors").read_bytes())
    refused(run, out, RunError, "tensors of the index are in no shard", base=str(base))
    refused(run, out, SetupError, "the base model does not exist", base=str(tmp_path / "missing"))
    with pytest.raises(SetupError, match="the base model does not exist"):  # also if questions need a device
        command(str(run.folder), out, base=str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    refused(run, out, RunError, "no safetensors weights", base=str(tmp_path / "empty"))


def test_an_existing_output_folder_is_unchanged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="the output folder exists"):
        command(str(run.folder), tmp_path, questions=0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modules_to_save": ["lm_head"]}, "not a plain LoRA"),
        ({"lora_bias": True}, "not a plain LoRA"),
        ({"peft_type": "IA3"}, "not a plain LoRA"),
    ],
)
def test_an_adapter_that_is_not_a_plain_lora_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    finished.adapter(tmp_path, finished.factors(0.02), **change)
    with pytest.raises(RunError, match=message):
        read_adapter(str(tmp_path))


def test_the_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    run = finished.run(tmp_path / "run")
    name = next(iter(finished.factors(0.02)))
    tensors = finished.factors(0.02) | {name: torch.zeros(finished.RANK, 7)}
    finished.adapter(run.adapter, tensors)
    refused(run, tmp_path / "out", RunError, "belongs to another base.*7 in the adapter")
    head = {f"base_model.model.lm_head.lora_{side}.weight": torch.ones(8, 8) for side in "AB"}
    finished.adapter(run.adapter, finished.factors(0.02) | head)
    refused(
        run, tmp_path / "out", RunError, "belongs to another base: lm_head is not in the base"
    )  # tied: stored elsewhere


def test_another_revision_of_the_base_is_refused(run: Run, tmp_path: Path) -> None:
    cache = tmp_path / "models--some--base" / "snapshots" / ("b" * 40)
    cache.parent.mkdir(parents=True)
    cache.symlink_to(nano.folder())
    with pytest.raises(RunError, match=r"revision aaaaaaaaaaaa then, bbbbbbbbbbbb now"):
        check_revision(cache, "a" * 40)
    check_revision(cache, "b" * 40)
    check_revision(nano.folder(), "a" * 40)  # the revision of a plain folder is unknown
    assert run.record.base_commit is None


def test_a_quantized_base_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"model.layers.0.w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(RunError, match="the base is quantized"):
        base_tensors(tmp_path)


def test_insufficient_disk_is_reported_before_the_merge(run: Run, tmp_path: Path) -> None:
    base = finished.sharded(tmp_path / "base")
    huge = 8 * 2**40  # a sparse file
    header = json.dumps({"extra": {"dtype": "BF16", "shape": [huge // 2], "data_offsets": [0, huge]}}).encode()
    with (base / "extra.safetensors").open("wb") as opened:
        opened.write(struct.pack("<Q", len(header)) + header)
        opened.truncate(8 + len(header) + huge)
    index = json.loads((base / "model.safetensors.index.json").read_text())
    index["weight_map"]["extra"] = "extra.safetensors"
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(run, tmp_path / "out", SetupError, "not enough disk", base=str(base))


def test_insufficient_memory_is_reported_before_the_merge() -> None:
    needed = Requirements(ram_bytes=3 * 2**30, disk_bytes=2**30, seconds=1)
    preflight.require_space(needed, Path("out"), ram=3 * 2**30, disk=2**30)
    with pytest.raises(SetupError, match=r"not enough host memory: 3\.00 GiB needed, 2\.00 GiB free"):
        preflight.require_space(needed, Path("out"), ram=2 * 2**30, disk=2**30)
    assert 2**28 < preflight.free_ram() < 2**50


def test_a_missing_run_and_a_folder_without_a_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the run does not exist"):
        command(str(tmp_path / "none"), tmp_path / "out")
    with pytest.raises(RunError, match="not a run directory"):
        command(str(nano.folder()), tmp_path / "out")
