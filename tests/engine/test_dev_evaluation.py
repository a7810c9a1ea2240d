"""Evaluation during training: it leaves training and test questions alone, and survives any end of the process."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from conftest import Lowmed
from PIL import Image

import lowmed
from lowmed.data import for_recipe
from lowmed.data.split import DataSplit
from lowmed.engine import train
from lowmed.errors import RunError
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run

pytestmark = pytest.mark.slow
FULL = ["model.load_in=16bit"]  # computes faster on a CPU; one test has the default, 4 bits
SFT = ["method.max_steps=8", "method.prompts_per_step=4", "method.save_steps=3", "method.learning_rate=3e-4"]
GRPO = ["method.max_steps=4", "method.prompts_per_step=2", "method.num_generations=2"]
DEV = ["data.dev=0.1", "dev.eval_steps=2", "dev.questions=5", "eval.max_new_tokens=64"]


def trained(recipe: Recipe, data_split: DataSplit, out: Path) -> Run:
    run = create_run(recipe, "run", out=str(out))
    status = train.train(run, train.load_for_training(recipe), data_split, report=lambda step, row: None)
    assert status == "finished"
    return run


def weights(run: Run) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def rows(run: Run, name: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.rows(name)]


def test_the_evaluation_changes_neither_metrics_nor_weights(tmp_path: Path) -> None:
    often = load_recipe("rl-plain", [*FULL, *GRPO, *DEV, "dev.keep=last", "method.max_completion_length=24"], nano=True)
    never = load_recipe(
        "rl-plain",
        [*FULL, *GRPO, *DEV, "dev.keep=last", "method.max_completion_length=24", "dev.eval_steps=1000"],
        nano=True,
    )
    data_split = for_recipe(often).split
    first, second = trained(often, data_split, tmp_path / "often"), trained(never, data_split, tmp_path / "never")
    assert [row["step"] for row in rows(first, "dev.jsonl")] == [0, 2, 4]
    assert [row["step"] for row in rows(second, "dev.jsonl")] == [0, 4]
    assert rows(first, "metrics.jsonl") == rows(second, "metrics.jsonl")
    assert rows(first, "rollouts.jsonl") == rows(second, "rollouts.jsonl")
    assert weights(first) == weights(second)


def test_no_test_question_and_no_test_image_is_touched(tmp_path: Path) -> None:
    recipe = load_recipe("rarl-sft", [*FULL, *SFT, *DEV, "dev.patience=2"], nano=True)
    data_split = for_recipe(recipe).split
    test_images = {image for part in data_split.held_out.values() for sample in part for image in sample.images}

    def open_image(reference: str) -> Image.Image:
        assert reference not in test_images
        return data_split.open_image(reference)

    guarded = trained(recipe, replace(data_split, open_image=open_image), tmp_path / "guarded")
    dev_ids = {sample.id for sample in data_split.dev}
    assert {row["id"] for row in rows(guarded, "dev_completions.jsonl")} <= dev_ids
    assert not dev_ids & {sample.id for part in data_split.held_out.values() for sample in part}
    without = trained(recipe, replace(data_split, held_out={}), tmp_path / "without")
    assert weights(guarded) == weights(without)
    assert rows(guarded, "dev.jsonl") == rows(without, "dev.jsonl")


def test_eval_of_the_same_questions_gives_the_accuracy_of_the_best_step(tmp_path: Path) -> None:
    """The adapter on disk is the one that was measured, and both commands read answers alike."""
    recipe = load_recipe("rarl-sft", [*SFT, *DEV, "data.dev=0.02", "dev.questions=100", "dev.eval_steps=4"], nano=True)
    data_split = for_recipe(recipe).split
    run = trained(recipe, data_split, tmp_path / "run")
    lines = rows(run, "dev.jsonl")
    best = max(lines[1:], key=lambda line: float(line["accuracy"]))
    assert run.record.adapter_step == best["step"]
    from lowmed.engine.evaluator import answerer
    from lowmed.evaluation.metrics import metrics, prediction, scored

    answer = answerer(recipe.model, run.adapter, recipe.prompts.asking, recipe.eval.max_new_tokens)
    completions = answer(data_split.dev, data_split.open_image, copies=1, temperature=0.0)
    graded = scored(prediction(one.sample, "dev", one.completion, one.tokens, one.finish_reason) for one in completions)
    strict = metrics(graded).strict
    assert strict is not None
    assert strict.accuracy == pytest.approx(best["accuracy"])
    stored = {row["id"]: row["completion"] for row in run.rows("dev_completions.jsonl") if row["step"] == best["step"]}
    assert {row["id"]: row["completion"] for row in graded} == stored


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that some tests only read or copy."""
    recipe = load_recipe("rarl-sft", [*FULL, *SFT, *DEV], nano=True)
    return trained(recipe, for_recipe(recipe).split, tmp_path_factory.mktemp("finished") / "run")


@pytest.mark.xdist_group("dev_evaluation")  # one process trains for both tests
def test_kl_is_zero_before_training_and_equals_the_sum_over_the_vocabulary(finished: Run) -> None:
    lines = rows(finished, "dev.jsonl")
    assert lines[0]["kl_base"] == 0
    assert lines[-1]["kl_base"] > 0
    assert all(line["entropy"] > 0 for line in lines)


# Runs a command in child processes. Each is killed at its N-th file operation inside the run directory, wherever that
# is. The imports are shared, because they take longer than the training.
KILLED = """
import os, signal, sys
from lowmed.cli import main
from lowmed.engine import train, dev_evaluation, sft
counts, run, arguments = sys.argv[1].split(","), os.path.abspath(sys.argv[2]), sys.argv[3:]
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.copyfile"}
def child(left):
    def watch(event, details):
        nonlocal left
        if event in EVENTS and isinstance(details[0], (str, os.PathLike)):
            if os.path.abspath(os.fspath(details[0])).startswith(run):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    sys.argv = ["lowmed", *arguments]
    main()
for count in counts:
    pid = os.fork()
    if pid == 0:
        child(int(count))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_a_run_killed_at_three_random_points_ends_with_the_same_best_adapter(
    commands: Commands, tmp_path: Path, lowmed: Lowmed
) -> None:
    # With these settings the best adapter changes several times before training stops early.
    changed = ["method.max_steps=40", "method.learning_rate=6e-4", "dev.questions=10", "dev.patience=3"]
    settings = ["--recipe", "rarl-sft", "--nano", *FULL, *SFT, *DEV, *changed]
    uninterrupted = lowmed("sft", *settings, "--out", "uninterrupted")
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    expected = Run(tmp_path / "uninterrupted")
    assert 2 < (expected.record.adapter_step or 0) < (expected.record.steps or 0) < 40
    draw = random.Random(0)
    counts = ",".join(str(draw.randrange(20, 120)) for _ in range(3))
    resumed_command = ["sft", *settings, "--out", "killed", "--resume", "auto"]
    ended = commands.start(tmp_path, counts, "killed", *resumed_command, code=KILLED)
    printed, errors = ended.communicate()
    assert printed.split() == ["-9"] * 3, errors
    last = lowmed(*resumed_command)
    assert last.returncode == 0, last.stderr
    resumed = Run(tmp_path / "killed")
    assert resumed.record.adapter_step == expected.record.adapter_step
    assert weights(resumed) == weights(expected)
    assert rows(resumed, "dev.jsonl") == rows(expected, "dev.jsonl")
    assert json.loads((resumed.folder / "run.json").read_text())["status"] == "finished"
    assert not (resumed.folder / "best").exists()


@pytest.mark.xdist_group("dev_evaluation")  # one process trains for both tests
def test_a_run_that_finished_without_recording_it_finishes_again_with_the_same_adapter(
    finished: Run, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    before = weights(run)
    run.update(status="running")
    assert lowmed.resume_training(run).record.status == "finished"
    assert weights(run) == before
    shutil.rmtree(run.adapter)
    run.update(status="running")
    with pytest.raises(RunError, match="the best adapter so far is missing"):
        lowmed.resume_training(run)
