"""Garbage is collected rarely while a command imports libraries, and as usual from the first model on."""

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


# A model that is part of a cycle, as many are, is freed by a collection only.
MODEL = (
    "import gc, weakref\nfrom lowmed import collector\nclass Model: pass\n{}model = Model()\nmodel.itself = model\n"
    "gone = weakref.ref(model)\n{}del model\ngc.collect()\nprint(gone(), gc.get_threshold() == collector.USUAL)"
)


@pytest.mark.parametrize(
    ("before", "after"),
    [("collector.collect_rarely()\ncollector.collect_as_usual()\n", "collector.collect_as_usual()\n"),
     ("", "collector.collect_as_usual()\n")],
    ids=["a second model of a command", "a model of a notebook"],
)  # fmt: skip
def test_no_model_stays_because_another_one_is_loaded(
    before: str, after: str, commands: Commands, tmp_path: Path
) -> None:
    code = MODEL.format(before, after)
    assert commands.start(tmp_path, code=code).communicate() == ("None True\n", "")
