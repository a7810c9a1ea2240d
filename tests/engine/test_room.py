"""Bases that are larger than the GPU or the disk."""

import shutil
from pathlib import Path

import pytest

from lowmed import architectures
from lowmed.engine import room
from lowmed.recipe import ModelSpec

GIB = 2**30


@pytest.mark.parametrize(
    ("name", "load_in", "gib", "fits"),
    [
        ("Qwen/Qwen2-VL-2B-Instruct", "4bit", 14.6, True),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "16bit", 14.6, False),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "4bit", 14.6, True),
        ("Qwen/Qwen2.5-VL-32B-Instruct", "4bit", 14.6, False),
        ("Qwen/Qwen2-VL-72B-Instruct", "4bit", 79.2, True),
    ],
)
def test_weights_that_do_not_fit_the_gpu_are_refused(name: str, load_in: str, gib: float, fits: bool) -> None:
    model = ModelSpec(name=name, load_in=load_in)
    error = room.gpu_error(model, architectures.shipped()[name], "Tesla T4", int(gib * GIB))
    assert (error is None) == fits
    if error:
        assert f"Tesla T4 has {gib} GiB" in error.what
        assert ("model.load_in=4bit" in error.fix) == (load_in == "16bit")


def test_a_download_that_does_not_fit_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelSpec()
    sizes = architectures.read_architecture(model)
    cache = tmp_path / "not yet" / "hub"
    needed = 2 * sizes.parameters
    for free, fits in ((needed, True), (needed - 1, False)):
        usage = shutil._ntuple_diskusage(10 * needed, 0, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder, usage=usage: usage)
        error = room.disk_error(model, sizes, cache)
        assert (error is None) == fits
        assert error is None or str(cache) == error.where


def test_without_a_gpu_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "driver_present", lambda: False)
    room.require_room(ModelSpec(name="Qwen/Qwen2-VL-72B-Instruct", load_in="16bit"))
