"""Checks of an adapter detect missing, zero, non-finite and unknown weights, and a merge that lost the adapter."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from ship import finished

from lowmed import nano
from lowmed.adapter.intake import read_adapter
from lowmed.cli.verify import verify as command
from lowmed.errors import RunError
from lowmed.run import Run
from lowmed.ship import completions, verify
from lowmed.ship.base_model import base_tensors

pytestmark = pytest.mark.usefixtures("forked_scripts")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("verify") / "run", strength=0.05)


def document(capsys: pytest.CaptureFixture[str], target: Path, *, passes: bool, **options: Any) -> dict[str, Any]:
    if passes:
        command(str(target), questions=2, as_json=True, **options)
    else:
        with pytest.raises(typer.Exit) as raised:
            command(str(target), questions=2, as_json=True, **options)
        assert raised.value.exit_code == 1
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["passed"] is passes
    return result


def failed(result: dict[str, Any]) -> list[str]:
    return [check["name"] for check in result["checks"] if not check["passed"]]


def test_an_intact_adapter_passes_and_the_unchanged_base_fails_as_its_merge(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """A merge that lost the adapter equals the base."""
    result = document(capsys, run.folder, passes=False, against=nano.folder())
    assert failed(result)[:2] == ["rounding keeps the adapter", "every layer is merged"]
    assert set(failed(result)[2:]) <= {"adapter and merged model agree"}
    assert [check["name"] for check in result["checks"]] == [
        "keys match the base",
        "LoRA B is not zero",
        "weights are finite",
        "PEFT changes every layer alike",
        "rounding keeps the adapter",
        "every layer is merged",
        "logits differ from the base",
        "PEFT alone gives the same tokens",
        "adapter and merged model agree",
    ]


def checks(folder: Path) -> dict[str, bool]:
    result = verify.check_files(read_adapter(str(folder)), nano.folder(), base_tensors(nano.folder()))
    return {check.name: check.passed for check in result}


def test_an_adapter_that_was_never_trained_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished.adapter(tmp_path, finished.factors(0.0))
    result = document(capsys, tmp_path, passes=False)
    assert failed(result) == ["LoRA B is not zero"]
    assert "28 of 28 layers are zero" in result["checks"][1]["detail"]


def test_missing_layers_and_tensors_that_are_no_factors_are_reported(tmp_path: Path) -> None:
    finished.adapter(tmp_path, finished.factors(0.02) | {"some.other.weight": torch.ones(1)})
    with pytest.raises(RunError, match=r"1 tensors of the adapter are no LoRA factors, first some\.other\.weight"):
        checks(tmp_path)
    fewer = dict(list(finished.factors(0.02).items())[2:])
    finished.adapter(tmp_path, fewer)
    assert not checks(tmp_path)["keys match the base"]
    half = dict(list(finished.factors(0.02).items())[1:])
    finished.adapter(tmp_path, half)
    with pytest.raises(RunError, match="1 layers have one factor only"):
        checks(tmp_path)
    finished.adapter(tmp_path, finished.factors(0.02))
    assert all(checks(tmp_path).values())


def test_nan_in_the_weights_is_reported(tmp_path: Path) -> None:
    tensors = finished.factors(0.02)
    tensors[next(iter(tensors))][0, 0] = torch.nan
    finished.adapter(tmp_path, tensors)
    assert not checks(tmp_path)["weights are finite"]


def test_a_damaged_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="adapter"):
        read_adapter(str(tmp_path))
    finished.adapter(tmp_path, finished.factors(0.02))
    file = tmp_path / "adapter_model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(RunError, match="damaged or truncated"):
        read_adapter(str(tmp_path))
    file.unlink()
    with pytest.raises(RunError, match="no safetensors weights"):
        read_adapter(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(RunError, match="config cannot be read"):
        read_adapter(str(tmp_path))


def test_the_peft_script_does_not_import_lowmed() -> None:
    tree = ast.parse(completions.PEFT_SCRIPT.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name.startswith("lowmed")]


def test_a_folder_without_weights_is_refused_as_a_merged_model(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no safetensors weights"):
        command(str(run.folder), against=tmp_path, questions=1)


def test_a_missing_run_and_a_missing_merged_folder_are_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the run does not exist"):
        command(str(tmp_path / "none"))
    with pytest.raises(RunError, match="the merged folder does not exist"):
        command(str(run.folder), against=tmp_path / "none")
