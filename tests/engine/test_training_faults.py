"""Faults of data, clock and loss during training: the right status, a message, and a resume that works."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from data.made import jsonl, row, save_images

import lowmed
from lowmed.errors import DataError, RunError
from lowmed.progress import Advance, Progress
from lowmed.report.runs_table import age
from lowmed.run import Run

pytestmark = pytest.mark.slow
SHORT = ["method.max_steps=3", "method.save_steps=1"]
SFT = ["method.prompts_per_step=2"]
GRPO = ["method.prompts_per_step=2", "method.num_generations=2", "method.max_completion_length=8"]


def after_step(step: int, act: Callable[[], Any]) -> Progress:
    """A progress bar that acts at a step."""

    @contextmanager
    def bar(label: str, total: int, start: int = 0) -> Iterator[Advance]:
        del label, total, start
        yield lambda done, _note: act() if done == step else None

    return bar


@pytest.mark.parametrize(("name", "settings"), [("rarl-sft", SFT), ("rl-plain", GRPO)])
def test_a_data_folder_that_disappears(name: str, settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save_images(folder, *(f"{number}.png" for number in range(16)))
    jsonl(folder / "t.jsonl", *(row(number, f"{number}.png", explanation="Seen.") for number in range(16)))
    data = tmp_path / "data"
    lowmed.prepare(str(folder / "t.jsonl"), data)
    recipe = lowmed.load_recipe(name, [*SHORT, *settings, "data.source=folder", f"data.path={data}"], nano=True)
    undisturbed = lowmed.train(recipe, tmp_path / "undisturbed")

    away = tmp_path / "away"
    vanish = after_step(1, lambda: (data / "images").rename(away))
    with pytest.raises(DataError) as raised:
        lowmed.train(recipe, tmp_path / "run", progress=vanish)
    assert raised.value.what == "the image file does not exist"
    assert str(data) in raised.value.where
    run = Run(tmp_path / "run")
    assert (run.record.status, run.record.error) == ("failed", raised.value.what)
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-1"
    with pytest.raises(DataError):  # the folder is still away
        lowmed.resume_training(run)
    away.rename(data / "images")
    assert lowmed.resume_training(run).record.status == "finished"
    weights = [(one.adapter / "adapter_model.safetensors").read_bytes() for one in (run, undisturbed)]
    assert weights[0] == weights[1]


def test_a_nan_loss_in_a_later_step_fails_and_resumes(tmp_path: Path) -> None:
    recipe = lowmed.load_recipe("rarl-sft", [*SHORT, *SFT], nano=True)
    undisturbed = lowmed.train(recipe, tmp_path / "undisturbed")
    is_broken = False

    def start() -> None:
        nonlocal is_broken
        is_broken = True

    def hook(module: Any, _inputs: Any, output: Any) -> Any:
        is_head = is_broken and type(module).__module__.startswith("peft.tuners.lora")
        return output * float("nan") if is_head and isinstance(output, torch.Tensor) else output

    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    try:
        with pytest.raises(RunError) as raised:
            lowmed.train(recipe, tmp_path / "run", progress=after_step(1, start))
    finally:
        handle.remove()
    assert raised.value.what == "the loss or its gradient is NaN or infinite at step 2"
    assert "lower method.learning_rate" in raised.value.fix
    run = Run(tmp_path / "run")
    assert (run.record.status, run.record.error) == ("failed", raised.value.what)
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-1"  # without the broken step
    assert lowmed.resume_training(run).record.status == "finished"
    weights = [(one.adapter / "adapter_model.safetensors").read_bytes() for one in (run, undisturbed)]
    assert weights[0] == weights[1]


def test_a_clock_that_goes_back_changes_no_status_and_no_duration(tmp_path: Path) -> None:
    """The stored times are those of a clock that was ahead by decades when the run was killed."""
    recipe = lowmed.load_recipe("rarl-sft", ["method.max_steps=1", *SFT], nano=True)
    run = lowmed.train(recipe, tmp_path / "run")
    run.update(status="running", steps=None, started="2099-01-01T00:00:00+00:00", ended="2099-01-01T00:01:00+00:00")
    (run.folder / "lock").write_text("1 2099-01-01T00:00:00+00:00\n")
    assert run.status()[0] == "interrupted"
    assert age(run.record.started) == "0 s"
    resumed = lowmed.resume_training(run)
    assert resumed.status() == ("finished", "")
    assert 0 <= (resumed.record.seconds or -1) < 86400
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1]
    assert 0 <= rows[0]["seconds"] < 86400
