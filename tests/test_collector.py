"""Garbage is collected rarely while libraries are imported, and as usual from the first model on."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Commands

from lowmed import collector
from lowmed.engine.device import find_device
from lowmed.engine.load import load_base
from lowmed.recipe import ModelSpec


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_loading_a_model_ends_the_rare_collections() -> None:
    collector.collect_rarely()
    assert gc.get_threshold() == collector.RARELY
    spec = ModelSpec(name="nano", load_in="16bit")
    load_base(spec, find_device(spec))
    assert gc.get_threshold() == collector.USUAL


START = "import gc, weakref\nfrom lowmed import collector\nclass Model: pass\ngc.unfreeze()\n"


def test_the_garbage_of_a_notebook_is_collected_and_its_settings_stay(commands: Commands, tmp_path: Path) -> None:
    code = START + (
        "gc.set_threshold(500, 5, 5)\nmodel = Model()\nmodel.itself = model\ngone = weakref.ref(model)\n"
        "collector.collect_as_usual()\ndel model\ngc.collect()\nprint(gone(), gc.get_threshold())"
    )
    assert commands.start(tmp_path, code=code).communicate() == ("None (500, 5, 5)\n", "")


def test_a_second_model_does_not_keep_the_first_one(commands: Commands, tmp_path: Path) -> None:
    code = START + (
        "collector.collect_rarely()\ncollector.collect_as_usual()\nmodel = Model()\nmodel.itself = model\n"
        "gone = weakref.ref(model)\ndel model\ncollector.collect_as_usual()\ngc.collect()\nprint(gone())"
    )
    assert commands.start(tmp_path, code=code).communicate() == ("None\n", "")
