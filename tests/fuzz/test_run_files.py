"""The files of a run that somebody else changed: every command that reads them reads them, or names the damage."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from fuzz.mutate import mutated, mutated_json, mutated_lines, search
from hypothesis import given
from hypothesis import strategies as st
from predictors import division, evaluated, perfect, question_only

from lowmed.adapter.config import read_config
from lowmed.api.extend import _extended_recipe
from lowmed.api.inspect import inspect
from lowmed.api.runs import compare_runs, list_runs, show_run
from lowmed.data.identity import RowIdentity
from lowmed.data.run_identity import data_changes, rows_of_start, store_data, store_start, warn_of_earlier_data
from lowmed.engine.checkpoint_damage import check_state
from lowmed.errors import LowmedError
from lowmed.evaluation import dev
from lowmed.evaluation.compare_inputs import load_systems
from lowmed.evaluation.grades import changed_grades
from lowmed.evaluation.report import report, write_report
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.report import card, page, run_report
from lowmed.run import Run, create_run

ROWS = tuple(RowIdentity(f"{number}", "train", f"text {number}", "image", "group", "train") for number in range(3))
DATA = replace(division(phantom.samples("test", 4), phantom.samples("train", 4)), rows=ROWS)
NO_DATA = {"missing": "nothing is at hand"}
EVAL = "evals/phantom"
METRICS = {"step": 2, "reward": 0.5, "rewards/accuracy": 0.25, "rewards/format": None}
DEV = {"step": 1, "questions_digest": "d", "questions": 4, "accuracy": 0.5, "low": 0.1, "high": 0.9, "unread": 0.0,
       "truncated": 0.0, "tokens": 9.0, "reward": 0.4, "seconds": 1.0}  # fmt: skip
SCORES = {"accuracy": {"value": 0.0, "why": "wrong"}, "format": {"value": None, "why": "none", "paid": 1.0}}
ROLLOUT = {"step": 2, "row": 0, "id": "1", "source": "phantom", "wording": 0, "completion": "<answer>a</answer>",
           "tokens": 9, "finish_reason": "stop", "scores": SCORES}  # fmt: skip
VERDICT = {"system": "tuned", "split": "test", "id": "1", "judge": {"model": "m", "rubric": "answer",
           "rubric_digest": "d"}, "query": "q", "text": "t", "value": True, "why": "w", "by": "judge"}  # fmt: skip
USAGE = {"time": "2026-01-01T00:00:00+00:00", "host": "http://127.0.0.1:1", "model": "m", "rubrics": ["answer d"],
         "content": "text", "verdicts_by": {"rule": 0, "cache": 0, "judge": 1, "failed": 0}, "requests": 1,
         "malformed": 0, "prompt_tokens": 9, "completion_tokens": 2, "cost": None}  # fmt: skip
STATE = {"epoch": 0.5, "global_step": 4, "max_steps": 8, "logging_steps": 1, "eval_steps": 500, "save_steps": 4,
         "train_batch_size": 2, "num_train_epochs": 1, "num_input_tokens_seen": 0, "total_flos": 0.0, "log_history":
         [{"loss": 0.1, "step": 4}], "best_metric": None, "best_global_step": None, "best_model_checkpoint": None,
         "is_local_process_zero": True, "is_world_process_zero": True, "is_hyper_param_search": False, "trial_name":
         None, "trial_params": None, "stateful_callbacks": {"TrainerControl": {"args": {"should_save": True},
         "attributes": {}}}}  # fmt: skip
ADAPTER = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "bias": "none",
           "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 4}, "alpha_pattern": {}, "use_dora":
           False, "init_lora_weights": True, "layers_to_transform": [1, 2], "layers_pattern": "layers"}  # fmt: skip
LINES: dict[str, dict[str, Any]] = {
         "metrics.jsonl": METRICS, "canaries.jsonl": {"step": 2, "canary/options": 0.1}, "dev.jsonl": DEV,
         "rollouts.jsonl": ROLLOUT, "dev_completions.jsonl": {"step": 1, "id": "1", "completion": "x"},
         f"{EVAL}/verdicts.jsonl": VERDICT, f"{EVAL}/judge_usage.jsonl": USAGE}  # fmt: skip
PLOTTED = ("metrics.jsonl", "canaries.jsonl", "dev.jsonl")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run of two steps with every record; the searches change one of its files at a time."""
    folder = tmp_path_factory.mktemp("runs")
    made = create_run(load_recipe("rarl", [], nano=True), "rarl-nano", out=str(folder / "run"))
    made.update(status="stopped", reason="SIGINT", steps=2, seconds=12.5, data_digest="d" * 64, card="CPU",
                judge_usage=[{name: value for name, value in USAGE.items() if name != "time"}],
                image_pixels=[3136, 200704], versions={"torch": "2.14.1"})  # fmt: skip
    store_data(made.folder, DATA)
    (made.folder / "earlier_data_rows.jsonl").write_bytes((made.folder / "data_rows.jsonl").read_bytes())
    store_start(made.folder, ROWS)
    evaluated(made.folder / EVAL, DATA, perfect, controls=0, system="base")
    evaluated(made.folder / EVAL, DATA, question_only, controls=4, system="tuned")
    write_report(made.folder / EVAL)
    for name, line in LINES.items():
        made.append(name, [line, {**line, "step": 2} if "step" in line else line])
    create_run(load_recipe("rarl", [], nano=True), "other", out=str(folder / "other"))
    return made


def _page(run: Run) -> None:
    content = run_report.read(run)
    card.render(content)
    page.render(replace(content, metrics=(), dev=()), {}, NO_DATA)  # without its plots, which take longer


def _plots(run: Run) -> None:
    page.render(run_report.read(run), {}, NO_DATA)


def _rewind(name: str) -> Callable[[Run], None]:
    def rewind(run: Run) -> None:
        run.rewind(name, 1)
        run.rewind(name, 0)

    return rewind


def _dev(run: Run) -> None:
    lines = dev.comparable(run.rows(dev.FILE))
    dev.is_exhausted(lines, 3)
    for line in (*dev.summary(lines, "best"), *map(dev.line_text, lines)):
        assert len(line) < 1000


COMMANDS: dict[str, Callable[[Run], Any]] = {
    "runs list": lambda run: list_runs(run.folder.parent),
    "runs show": show_run,
    "runs compare": lambda run: compare_runs([run, run.folder.parent / "other"]),
    "eval --rescore": lambda run: report(run.folder / EVAL),
    "compare": lambda run: load_systems(run.folder / EVAL),
    "report": _page,
    "resume, data": lambda run: data_changes(run.folder, DATA),
    "resume, earlier data": lambda run: warn_of_earlier_data(run.folder, DATA, changed=True),
    "start": lambda run: rows_of_start(str(run)),
    "resume, dev": _dev,
    "extend": lambda run: _extended_recipe(run.folder / "recipe.yaml", run.recipe, ["method.max_steps=400"]),
    "rescored": lambda run: changed_grades(run.folder / EVAL, {}),
}
RUNS, ROWS_OF_DATA = ("runs list", "runs show", "runs compare"), ("resume, data", "resume, earlier data", "start")
COMPLETIONS = ("eval --rescore", "compare", "report")
READ_BY = {
    "run.json": (*RUNS, "report"), "recipe.yaml": (*RUNS, "extend"), "split.json": ("runs show",),
    "data_rows.jsonl": ROWS_OF_DATA, "earlier_data_rows.jsonl": ROWS_OF_DATA, "start_data_rows.jsonl": ROWS_OF_DATA,
    "metrics.jsonl": (*RUNS, "report"), "canaries.jsonl": ("report",), "rollouts.jsonl": ("report",),
    "dev.jsonl": ("runs show", "resume, dev"), "dev_completions.jsonl": (), f"{EVAL}/settings.json": COMPLETIONS,
    f"{EVAL}/report.json": (*RUNS, "compare"), f"{EVAL}/grades.jsonl": ("rescored",), f"{EVAL}/base.jsonl": COMPLETIONS,
    f"{EVAL}/tuned.jsonl": COMPLETIONS, f"{EVAL}/tuned.shuffled.jsonl": COMPLETIONS,
    f"{EVAL}/verdicts.jsonl": COMPLETIONS, f"{EVAL}/judge_usage.jsonl": COMPLETIONS,
}  # fmt: skip
REWOUND = ("metrics.jsonl", "rollouts.jsonl", "canaries.jsonl", "dev.jsonl", "dev_completions.jsonl")


def commands(name: str, seed: int) -> list[Callable[[Run], Any]]:
    """Everything that reads a file; `rewind`, which may write it again, is the last."""
    commands_of_file = [COMMANDS[command] for command in READ_BY[name]]
    commands_of_file += [_plots] if name in PLOTTED and seed % 50 == 0 else []
    return [*commands_of_file, lambda run: inspect(run.folder / name), *([_rewind(name)] if name in REWOUND else [])]


@pytest.mark.parametrize("name", READ_BY)
def test_a_changed_file_of_a_run_is_read_or_named_by_every_command(name: str, run: Run) -> None:
    file = run.folder / name
    original = file.read_bytes()
    text = original.decode()
    change = mutated_lines if file.suffix == ".jsonl" else mutated_json

    @search(12)
    @given(st.integers(0, 2**32))
    def read_it(seed: int) -> None:
        yaml = file.suffix == ".yaml"
        file.write_bytes(mutated(text, seed).encode("utf-8", "surrogatepass") if yaml else change(text, seed))
        for command in commands(name, seed):
            with suppress(LowmedError):
                command(run)

    try:
        read_it()
    finally:
        file.write_bytes(original)


@search(200)
@given(st.integers(0, 2**32))
def test_any_trainer_state_is_refused_or_has_the_types_that_the_trainer_needs(tmp_path_factory: Any, seed: int) -> None:
    from transformers import TrainerState

    folder = tmp_path_factory.getbasetemp() / "checkpoint-4"
    folder.mkdir(exist_ok=True)
    file = folder / "trainer_state.json"
    file.write_bytes(mutated_json(json.dumps(STATE), seed))
    try:
        reason = check_state(file)
    except Exception:  # `damage` turns any exception into a reason
        return
    if reason is None:
        state = TrainerState.load_from_json(str(file))
        assert f"{state.train_batch_size or 0:d} {state.epoch:.1f} {state.max_steps + state.global_step:.0f}"
        assert all(isinstance(line, dict) for line in state.log_history)


@search(400)
@given(st.integers(0, 2**32))
def test_any_adapter_config_is_read_or_refused(tmp_path_factory: Any, seed: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "adapter_config.json").write_bytes(mutated_json(json.dumps(ADAPTER), seed))
    with suppress(LowmedError):
        read_config(folder)
