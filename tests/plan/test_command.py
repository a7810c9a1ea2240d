import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import Lowmed
from typer.testing import CliRunner

from lowmed.cli import plan
from lowmed.errors import LowmedError, RecipeError, SetupError

APP = typer.Typer()
APP.command()(plan.plan)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, list(arguments))
    if isinstance(result.exception, LowmedError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lowmed.processes.driver_present", lambda: False)


def test_without_a_gpu_all_known_gpus_are_listed() -> None:
    code, output = run("--recipe", "rarl")
    assert code == 0
    assert all(f"\n{name:<10}" in output for name in ("T4", "A100-40", "H200"))
    assert "~ estimate" in output


def test_one_gpu_is_shown_by_phase_and_term() -> None:
    code, output = run("--recipe", "rarl", "--gpu", "t4")
    assert code == 0
    for words in ("rollout", "backward", "KV cache", "activations", "4-bit weights", "verdict  fits", "; an estimate"):
        assert words in output
    assert len(output.partition("to save memory:\n")[2].splitlines()) == 3


def test_a_run_that_does_not_fit_exits_with_1() -> None:
    code, output = run("--recipe", "rarl", "--gib", "4", "model.name=Qwen/Qwen2-VL-7B-Instruct")
    assert code == 1
    assert "does not fit" in output
    assert "GiB missing" in output


def test_json_is_one_document_with_every_phase() -> None:
    code, output = run("--recipe", "rarl", "--gpu", "L4", "--json")
    [card] = json.loads(output)["cards"]
    assert code == 0
    assert card["verdict"] == "fits"
    assert card["peak_gib"] == max(phase["gib"] for phase in card["phases"].values())
    for phase in card["phases"].values():
        assert sum(phase["terms"].values()) + card["context_gib"] == pytest.approx(phase["gib"], abs=2e-3)
    assert len(json.loads(run("--recipe", "rarl", "--json")[1])["cards"]) == 14


def test_nano_is_estimated_for_this_machine() -> None:
    code, output = run("--recipe", "rarl", "--nano")
    assert code == 0
    assert "device   CPU" in output
    assert "64 rows per forward pass" in output


def test_the_preset_of_a_recipe_selects_the_gpu() -> None:
    assert "device   T4" in run("--recipe", "rarl", "hardware=t4")[1]
    assert "device   L4" in run("--recipe", "rarl", "hardware=t4", "--gpu", "l4")[1]


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        (("--gpu", "T5"), RecipeError, "is unknown"),
        (("--gpu", "T4", "--gib", "3"), RecipeError, "cannot be combined"),
        (("--dry-run", "--gpu", "T4"), RecipeError, "the GPU of this machine"),
        (("model.name=somebody/else",), SetupError, "is unknown"),
    ],
)
def test_mistakes_are_reported(arguments: tuple[str, ...], error: type[LowmedError], what: str) -> None:
    with pytest.raises(error, match=what):
        run("--recipe", "rarl", *arguments)


def test_planning_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom lowmed.cli import plan\nplan.plan([], recipe_name='rarl', gpu='T4')\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'bitsandbytes', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_gpus_without_bf16_are_no_choice_for_gemma(lowmed: Lowmed) -> None:
    medgemma = ("plan", "--recipe", "rarl", "model.name=google/medgemma-4b-it", "--gpu")
    refused = lowmed(*medgemma, "T4")
    assert refused.returncode == 1
    assert "verdict  needs bf16" in refused.stdout
    assert lowmed(*medgemma, "L4").returncode == 0


def test_settings_that_need_the_forward_pass_of_lowmed_are_refused_for_gemma(lowmed: Lowmed) -> None:
    check = ("check", "--recipe", "rarl", "model.name=google/medgemma-4b-it", "data.source=phantom")
    graphs = lowmed(*check, "model.rollout=cuda_graphs")
    assert graphs.returncode == 2
    assert "Gemma 3 samples with transformers' own code" in graphs.stderr
    consistency = lowmed(*check, "method.rewards=[{name: consistency}]")
    assert consistency.returncode == 2
    assert "the reward `consistency` needs lowmed's forward pass, which does not run Gemma 3" in consistency.stderr
    dependence = lowmed(*check, "method.rewards=[{name: accuracy}, {name: image_dependence}]")
    assert dependence.returncode == 2
    assert "the reward `image_dependence` needs lowmed's forward pass" in dependence.stderr
    assert lowmed(*check, "method.rewards=[{name: majority}, {name: format}]").returncode == 0
