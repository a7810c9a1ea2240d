"""Continue a run with more steps: a new run from a copy of its last checkpoint."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import lowmed
from lowmed.api.extend import _learning_rate
from lowmed.errors import RecipeError

SHORT = ["method.prompts_per_step=2", "method.save_steps=2", "model.load_in=16bit"]  # faster on a CPU than 4 bits
DEV = ["data.dev=0.1", "dev.eval_steps=1", "dev.questions=3"]
CONSTANT = ["method.lr_scheduler_type=constant", "method.warmup_ratio=0"]


def trained(out: Path, *overrides: str) -> lowmed.Run:
    return lowmed.train(lowmed.load_recipe("rarl-sft", [*SHORT, *DEV, *overrides], nano=True), out)


def weights(run: lowmed.Run) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def rows(run: lowmed.Run, name: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.rows(name)]


@pytest.mark.slow
def test_a_continued_run_is_an_equally_long_run_and_leaves_the_first_one_alone(tmp_path: Path) -> None:
    short = trained(tmp_path / "short", "method.max_steps=3", *CONSTANT)
    before = {path: path.read_bytes() for path in short.folder.rglob("*") if path.is_file() and path.name != "lock"}
    lines: list[str] = []
    longer = lowmed.extend_training(short, ["method.max_steps=6"], tmp_path / "longer", log=lines.append)
    expected = trained(tmp_path / "expected", "method.max_steps=6", *CONSTANT)
    assert weights(longer) == weights(expected)
    assert rows(longer, "metrics.jsonl") == rows(expected, "metrics.jsonl")
    assert rows(longer, "dev.jsonl") == rows(expected, "dev.jsonl")
    assert longer.record.adapter_step == expected.record.adapter_step
    assert longer.record.continues == "short, step 3"
    assert longer.record.recipe_digest == longer.recipe.digest == expected.recipe.digest
    assert "extend  from step 3 to 6; the learning rate stays constant" in lines
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.slow
def test_a_continued_run_still_states_what_its_starting_adapter_was_trained_on(tmp_path: Path) -> None:
    by_image = ["data.split_by=image", "method.max_steps=1"]
    start = trained(tmp_path / "start", *by_image, "seed=1")
    run = trained(tmp_path / "run", *by_image, f"lora.start={start}")
    longer = lowmed.extend_training(run, ["method.max_steps=2"], tmp_path / "longer")
    for each in (run, longer):
        [report] = lowmed.evaluate(each, questions=4, controls=0)
        assert "the starting adapter was trained on" in report.splits["held-out"].stamp
    assert start.rows("start_data_rows.jsonl") == []


@pytest.mark.slow
def test_steps_replace_epochs(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "method.epochs=0.005", *CONSTANT)
    longer = lowmed.extend_training(run, [f"method.max_steps={(run.record.steps or 0) + 1}"], tmp_path / "longer")
    assert longer.recipe.method.epochs is None
    assert longer.record.steps == (run.record.steps or 0) + 1


@pytest.mark.slow
def test_a_decayed_learning_rate_is_stated_and_a_pruned_run_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "method.max_steps=2", "method.lr_scheduler_type=linear", "method.warmup_ratio=0")
    lines: list[str] = []
    longer = lowmed.extend_training(run, ["method.max_steps=4"], tmp_path / "longer", log=lines.append)
    assert any("the learning rate goes from 0 to 5e-05" in line for line in lines)
    assert rows(longer, "metrics.jsonl")[2]["learning_rate"] == pytest.approx(5e-5 * 20)  # 20: of nano
    shutil.rmtree(run.checkpoints)
    with pytest.raises(lowmed.LowmedError, match="no checkpoint to continue from"):
        lowmed.extend_training(run, ["method.max_steps=4"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_run_that_stopped_early_needs_more_patience(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "method.max_steps=8", "dev.patience=1", "method.learning_rate=1e-6")
    assert (run.record.steps, run.record.adapter_step) == (2, 1)
    with pytest.raises(lowmed.LowmedError, match="ended early: no higher dev accuracy in 1 evaluations"):
        lowmed.extend_training(run, ["method.max_steps=9"], tmp_path / "same")
    longer = lowmed.extend_training(run, ["method.max_steps=4", "dev.patience=9"], tmp_path / "longer")
    assert (longer.record.steps, longer.record.adapter_step) == (4, 1)
    assert weights(longer) == weights(run)  # the best adapter is still that of step 1


@pytest.mark.slow
def test_a_damaged_last_checkpoint_is_passed_over_and_the_best_adapter_is_that_of_a_checkpoint(tmp_path: Path) -> None:
    rare = ["dev.eval_steps=2", *CONSTANT]
    run = trained(tmp_path / "run", "method.max_steps=3", "dev.keep=last", *rare)
    damaged = run.checkpoints / "checkpoint-3/optimizer.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    lines: list[str] = []
    changes = ["method.max_steps=5", "dev.keep=best"]
    longer = lowmed.extend_training(run, changes, tmp_path / "longer", log=lines.append)
    assert "extend  checkpoint-3 is damaged (optimizer.pt has changed); it starts from checkpoint-2" in lines
    assert damaged.is_file()
    expected = trained(tmp_path / "expected", "method.max_steps=5", *rare)
    assert weights(longer) == weights(expected)
    assert rows(longer, "metrics.jsonl") == rows(expected, "metrics.jsonl")
    assert longer.record.continues == "run, step 2"


def made(out: Path, *settings: str, steps: int = 2) -> lowmed.Run:
    """A finished run without weights, with a checkpoint of every step."""
    from lowmed.engine.checkpoint_damage import NEEDED
    from lowmed.engine.checkpoints import mark_complete
    from lowmed.run import create_run

    run = create_run(lowmed.load_recipe("rarl-sft", [*SHORT, *settings], nano=True), "run", out=str(out))
    run.update(status="finished", steps=steps)
    for step in range(1, steps + 1):
        checkpoint = run.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        for name in NEEDED:
            (checkpoint / name).write_text(name)
        mark_complete(checkpoint, step)
    return run


def test_a_best_adapter_that_was_not_kept_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = made(tmp_path / "run", *DEV, "dev.keep=last")
    line = {"questions_digest": "x", "low": 0, "high": 1, "unread": 0, "truncated": 0, "tokens": 3, "questions": 6}
    line["seconds"] = 1
    run.append("dev.jsonl", [{**line, "step": step, "accuracy": 0.9 - step / 10} for step in range(3)])
    shutil.rmtree(run.checkpoints / "checkpoint-1")
    with pytest.raises(RecipeError, match="the highest dev accuracy, that of step 1, was not kept"):
        lowmed.extend_training(run, ["method.max_steps=9", "dev.keep=best"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_without_an_intact_checkpoint_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run.checkpoints / "checkpoint-2/optimizer.pt").unlink()
    (run.checkpoints / "checkpoint-1/complete.json").write_text("{")
    with pytest.raises(lowmed.LowmedError, match="no checkpoint of the run is intact") as raised:
        lowmed.extend_training(run, ["method.max_steps=9"], tmp_path / "new")
    assert "checkpoint-2: optimizer.pt is missing" in str(raised.value)
    assert "checkpoint-1: complete.json: " in str(raised.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.learning_rate=3e-5"], "method.learning_rate"),
        (["method.max_steps=9", "seed=1"], "seed"),
        (["method.max_steps=9", "data.held_out=0.3"], "data.held_out"),
        (["method.max_steps=2"], "the run has 2 steps already"),
        (["method.epochs=9"], "method.epochs"),
    ],
)
def test_other_changes_are_refused_before_anything_is_written(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    run = made(tmp_path / "run")
    with pytest.raises(lowmed.LowmedError) as raised:
        lowmed.extend_training(run, overrides, tmp_path / "new")
    assert message in str(raised.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_the_stated_learning_rate_is_that_of_transformers(kind: str) -> None:
    import torch
    from transformers import get_scheduler

    name = "constant_with_warmup" if kind == "constant" else kind
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=5, num_training_steps=50)
    factor = _learning_rate(kind, 0.1, 50)
    for step in range(50):
        assert factor(step) == pytest.approx(scheduler.get_last_lr()[0]), step
        optimizer.step()
        scheduler.step()
