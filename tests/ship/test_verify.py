"""An adapter that does nothing, or not what it did, is found out."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from ship import finished

from lowmed import nano
from lowmed.cli.verify import verify as command
from lowmed.errors import RunError
from lowmed.run import Run
from lowmed.ship import adapter as adapters
from lowmed.ship import base_model as bases
from lowmed.ship import replies_and_logits, verify


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("verify") / "run", strength=0.05)


def document(capsys: pytest.CaptureFixture[str], target: Path, *, passes: bool, **options: Any) -> dict[str, Any]:
    if passes:
        command(str(target), samples=2, as_json=True, **options)
    else:
        with pytest.raises(typer.Exit) as ended:
            command(str(target), samples=2, as_json=True, **options)
        assert ended.value.exit_code == 1
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["passed"] is passes
    return result


def failed(result: dict[str, Any]) -> list[str]:
    return [check["name"] for check in result["checks"] if not check["passed"]]


def test_a_sound_adapter_passes_and_the_untouched_base_is_not_its_merge(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """The base is what a merge that has lost the adapter looks like."""
    result = document(capsys, run.folder, passes=False, against=nano.folder())
    assert "the adapter survives rounding" in failed(result)
    assert set(failed(result)) <= {"the adapter survives rounding", "adapter and merged answer alike"}
    assert [check["name"] for check in result["checks"]] == [
        "keys match the base",
        "LoRA B is not zero",
        "weights are finite",
        "the adapter survives rounding",
        "logits differ from the base",
        "plain peft says the same",
        "adapter and merged answer alike",
    ]


def checks(folder: Path) -> dict[str, bool]:
    result = verify.files(adapters.read(str(folder)), bases.tensors(nano.folder()))
    return {check.name: check.passed for check in result}


def test_an_adapter_that_was_never_trained_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished.adapter(tmp_path, finished.factors(0.0))
    result = document(capsys, tmp_path, passes=False)
    assert failed(result) == ["LoRA B is not zero"]
    assert "28 of 28 layers are zero" in result["checks"][1]["told"]


def test_keys_that_peft_would_drop_are_named(tmp_path: Path) -> None:
    renamed = {name.replace("language_model.", ""): value for name, value in finished.factors(0.02).items()}
    finished.adapter(tmp_path, renamed)  # as another version of transformers names them
    with pytest.raises(RunError, match="belongs to another base"):
        checks(tmp_path)
    finished.adapter(tmp_path, finished.factors(0.02) | {"some.other.weight": torch.ones(1)})
    assert not checks(tmp_path)["keys match the base"]
    fewer = dict(list(finished.factors(0.02).items())[2:])
    finished.adapter(tmp_path, fewer)
    assert not checks(tmp_path)["keys match the base"]
    half = dict(list(finished.factors(0.02).items())[1:])
    finished.adapter(tmp_path, half)
    assert not checks(tmp_path)["keys match the base"]
    finished.adapter(tmp_path, finished.factors(0.02))
    assert all(checks(tmp_path).values())


def test_numbers_that_are_none_are_found(tmp_path: Path) -> None:
    tensors = finished.factors(0.02)
    tensors[next(iter(tensors))][0, 0] = torch.nan
    finished.adapter(tmp_path, tensors)
    assert not checks(tmp_path)["weights are finite"]


def test_damaged_adapters_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no adapter"):
        adapters.read(str(tmp_path))
    finished.adapter(tmp_path, finished.factors(0.02))
    file = tmp_path / "adapter_model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(RunError, match="damaged or cut short"):
        adapters.read(str(tmp_path))
    file.unlink()
    with pytest.raises(RunError, match="no safetensors weights"):
        adapters.read(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(RunError, match="config can not be read"):
        adapters.read(str(tmp_path))


def test_the_reload_knows_nothing_of_lowmed() -> None:
    tree = ast.parse(replies_and_logits.PLAIN.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name.startswith("lowmed")]


def test_a_merged_folder_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no safetensors weights"):
        command(str(run.folder), against=tmp_path, samples=1)
