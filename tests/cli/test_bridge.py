"""The bridge: RL if the probe finds support, else SFT first. Each stage has its own run directory."""

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from lowmed.cli.bridge import bridge
from lowmed.errors import LowmedError, RecipeError, RunError
from lowmed.evaluation.bridge_rule import bridge_spec, next_step, stage_recipe
from lowmed.recipe.io import dump_recipe, load_recipe
from lowmed.run import lock_folder

TINY = [
    "--recipe", "medbridge", "--nano", "prompts.train=reasoning", "bridge.questions=12", "bridge.samples=4",
    "bridge.rounds=1", "bridge.sft.max_steps=2", "bridge.sft.prompts_per_step=4", "method.max_steps=2",
    "method.num_generations=4", "method.prompts_per_step=2", "method.max_completion_length=40",
    "eval.max_new_tokens=40",
    "method.rewards=[{name: accuracy}, {name: format}]",
]  # fmt: skip


def run_bridge(*arguments: str) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(bridge)
    return CliRunner().invoke(app, arguments)


def refused(*arguments: str) -> LowmedError:
    error = run_bridge(*arguments).exception
    assert isinstance(error, LowmedError), error
    return error


@pytest.mark.slow
def test_without_support_sft_runs_first_and_a_resumed_bridge_continues_with_rl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stopped = run_bridge(*TINY, "bridge.support=1.0", "--out", "b", "--json")
    assert stopped.exit_code == 1, stopped.output
    stages = json.loads(stopped.stdout)["stages"]
    assert [stage["stage"] for stage in stages] == ["1-probe", "2-sft", "3-probe"]
    assert [stage.get("then") for stage in stages] == ["sft", None, "stop"]
    assert stages[0]["support"] < stages[0]["support_needed"] == 1.0
    assert stages[0]["k"] == 4
    assert (tmp_path / "b/3-probe/tuned.jsonl").exists()  # probed with the adapter of the SFT stage
    trained = (tmp_path / "b/2-sft/adapter/adapter_model.safetensors").stat().st_mtime_ns

    (tmp_path / "b/3-probe/probe.json").unlink()  # the state after a kill during the probe
    recipe = tmp_path / "b/recipe.yaml"
    recipe.write_text(recipe.read_text().replace("support: 1.0", "support: 0.0"))
    done = run_bridge("--resume", "b")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "b/bridge.json").read_text())
    assert record["status"] == "finished"
    assert [stage["stage"] for stage in record["stages"]] == ["1-probe", "2-sft", "3-probe", "4-grpo"]
    assert record["stages"][3]["start"] == "2-sft"
    assert load_recipe("b/4-grpo/recipe.yaml").lora.start == "b/2-sft"
    assert json.loads((tmp_path / "b/4-grpo/run.json").read_text())["status"] == "finished"
    assert (tmp_path / "b/2-sft/adapter/adapter_model.safetensors").stat().st_mtime_ns == trained


def test_the_verdict_selects_the_next_stage_and_rounds_are_limited() -> None:
    assert next_step("RL", 0, 3)[0] == "grpo"
    assert next_step("SFT first", 2, 3)[0] == "sft"
    assert next_step("SFT first", 3, 3) == (
        "stop", "No support after 3 rounds of SFT: use other data or a stronger base."
    )  # fmt: skip
    assert next_step("neither", 0, 3)[0] == "stop"


def test_a_stage_is_an_ordinary_recipe_with_one_method(tmp_path: Path) -> None:
    recipe = load_recipe("medbridge", nano=True)
    sft = stage_recipe(recipe, "sft", None)
    assert (sft.method, sft.bridge, sft.lora.start) == (bridge_spec(recipe).sft, None, None)
    rl = stage_recipe(recipe, "grpo", Path("b/2-sft"))
    assert (rl.method, rl.lora.start) == (recipe.method, "b/2-sft")
    file = tmp_path / "stage.yaml"
    file.write_text(dump_recipe(rl))
    assert load_recipe(str(file)) == rl


def test_a_mistake_is_reported_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no `bridge` section" in refused("--recipe", "rarl", "--nano").what
    assert "not RL" in refused(*TINY, "method={kind: sft}").what
    assert isinstance(refused(*TINY, "data.source=nothing"), RecipeError)
    assert "not a bridge directory" in refused("--resume", "here").what
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "taken").mkdir()
    assert isinstance(refused(*TINY, "--out", "taken"), RunError)


def test_a_bridge_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bridge.json").write_text(json.dumps({"format": 2, "status": "running", "stages": []}))
    assert "newer version of lowmed" in refused("--resume", str(tmp_path)).what


def test_a_resumed_bridge_keeps_its_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "bridge.json").write_text("{}")
    (folder / "recipe.yaml").write_text(dump_recipe(load_recipe("medbridge", nano=True)))
    assert "keeps its recipe" in refused("--resume", str(folder), "method.max_steps=3").what


def test_two_processes_cannot_work_on_one_bridge(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "bridge.json").write_text(json.dumps({"format": 1, "status": "running", "stages": []}))
    (folder / "recipe.yaml").write_text(dump_recipe(load_recipe("medbridge", nano=True)))
    with lock_folder(folder, "bridge"):
        error = refused("--resume", str(folder))
    assert error.what == "another process is using this bridge"
    assert f"process {os.getpid()}" in error.where
    assert not (folder / "1-probe").exists()
