"""A model folder that brings Python code of its own: the code never runs, and nothing asks whether it may."""

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import server
from ship import finished

from lowmed import nano
from lowmed.adapter.intake import read_adapter
from lowmed.engine.own_code import own_code_refused
from lowmed.errors import LowmedError, RunError, SetupError

ROOT = Path(__file__).parent.parent.parent
REFUSED = "needs code of its own (auto_map), which lowmed does not run"
# File -> the changes that make transformers look for the code.
CHANGES: dict[str, dict[str, Any]] = {
    "config.json": {"auto_map": dict.fromkeys(("AutoConfig", "AutoModelForImageTextToText"), "evil.Evil")},
    "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"},
    "processor_config.json": {"auto_map": {"AutoProcessor": "evil.Evil"}, "processor_class": "Evil"},
    "preprocessor_config.json": {"auto_map": {"AutoImageProcessor": "evil.Evil"}, "image_processor_type": "Evil"},
}


def folder_with_code(folder: Path, *files: str, **changes: Any) -> Path:
    """The embedded model with code that leaves a file `marker` next to the folder when it runs."""
    target = folder / "model"
    shutil.copytree(nano.folder(), target)
    code = f"open({str(folder / 'marker')!r}, 'w').close()\nclass Evil: pass\n"
    (target / "evil.py").write_text(code)
    (target / "custom_generate").mkdir()
    (target / "custom_generate" / "generate.py").write_text(code + "def generate(*_, **__): pass\n")
    for name in files:
        file = target / name
        content = json.loads(file.read_text()) | CHANGES[name] | changes
        file.write_text(json.dumps(content))
    return target


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run the command in a folder with an answer to every question at hand."""
    variables = {"HF_MODULES_CACHE": str(tmp_path_factory.mktemp("modules")), "HF_HUB_OFFLINE": "1"}
    with server(**variables) as own:  # transformers reads them when it is imported
        yield lambda folder, *arguments: subprocess.run(
            [own.python, "-m", "lowmed", *arguments],
            cwd=folder,
            env=os.environ | variables,
            input="y\n" * 20,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def expect_no_code(result: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert not (folder / "marker").exists(), result.stderr
    assert "[y/N]" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr


def commands(model: Path) -> dict[str, list[str]]:
    change = ["--nano", f"model.name={model}"]
    return {
        "dry run": ["plan", "--recipe", "rarl", "--dry-run", *change],
        "check": ["check", "--recipe", "rarl", *change],
        "sft": ["sft", "--recipe", "rarl-sft", *change, "method.max_steps=1"],
        "eval": ["eval", str(model), "--on", "phantom", "--questions", "2"],
        "ask": ["ask", str(model), "Is it grey?"],
        "merge": ["merge", "run", "--out", "merged", "--base", str(model), "--questions", "0"],
    }


@pytest.mark.slow
@pytest.mark.xdist_group("own_code")  # one process starts the server
@pytest.mark.parametrize("command", ["dry run", "sft", "eval", "merge"])
def test_no_command_runs_the_code_of_a_model(tmp_path: Path, command: str, run: Run) -> None:
    finished.run(tmp_path / "run")
    model = folder_with_code(tmp_path, "config.json", "tokenizer_config.json", "processor_config.json")
    result = run(tmp_path, *commands(model)[command])
    expect_no_code(result, tmp_path)
    assert result.returncode == 2, result.stderr
    assert REFUSED in result.stderr
    assert f"  where  {model}" in result.stderr
    assert "  fix    " in result.stderr


@pytest.mark.slow
@pytest.mark.xdist_group("own_code")
@pytest.mark.parametrize("command", ["check", "ask"])
def test_an_unknown_model_type_is_refused_before_its_code(tmp_path: Path, command: str, run: Run) -> None:
    model = folder_with_code(tmp_path, "config.json", model_type="evil")
    result = run(tmp_path, *commands(model)[command])
    expect_no_code(result, tmp_path)
    assert result.returncode == 2, result.stderr
    assert "\n  where  " in result.stderr
    assert "\n  fix    " in result.stderr


def load(model: Path) -> None:
    from lowmed.engine.device import find_device
    from lowmed.engine.load import load_base
    from lowmed.recipe import ModelSpec

    spec = ModelSpec(name=str(model), load_in="16bit")
    load_base(spec, find_device(spec))


@pytest.mark.parametrize("file", CHANGES)
def test_each_file_that_names_code_is_refused_or_loaded_without_it(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")
    model = folder_with_code(tmp_path, file)
    try:
        load(model)
    except LowmedError as error:
        assert error.what.endswith(REFUSED)  # loading without the code is as good
        assert error.where == str(model)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("auto_map", [5, [], {"AutoConfig": 5}, {"AutoConfig": []}, {"AutoConfig": "../evil.Evil"}])
@pytest.mark.parametrize("file", CHANGES)
def test_a_malformed_auto_map_runs_nothing(tmp_path: Path, file: str, auto_map: object) -> None:
    model = folder_with_code(tmp_path, file, auto_map=auto_map)
    with pytest.raises(LowmedError):
        load(model)
        raise SetupError("loaded without the code", "", "")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "config",
    [
        finished.CONFIG | {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        finished.CONFIG | {"peft_type": "PROMPT_TUNING", "prompt_tuning_init": "TEXT", "tokenizer_name_or_path": "m"},
        {"peft_type": ["LORA"]}, {}, [], 5, None,
    ],
)  # fmt: skip
def test_an_adapter_that_is_no_plain_lora_is_refused(tmp_path: Path, config: object) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(RunError):
        read_adapter(str(tmp_path))
    finished.adapter(tmp_path, finished.factors(0.02))
    assert read_adapter(str(tmp_path)).folder == tmp_path


def test_only_the_refusal_of_code_is_translated() -> None:
    with pytest.raises(ValueError, match="another"), own_code_refused("model"):
        raise ValueError("another mistake")


def calls(file: Path) -> Iterator[ast.Call]:
    """The calls that load a model, processor, tokenizer or config of transformers or unsloth."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = ast.unparse(node.func.value)
        # An adapter and the settings of `generate` contain no code; `architectures.from_config` is lowmed's own.
        if node.func.attr in ("from_pretrained", "from_config") and owner not in (
            "PeftModel", "GenerationConfig", "architectures",
        ):  # fmt: skip
            yield node


def test_every_call_that_loads_a_model_refuses_its_code() -> None:
    keywords = [
        (f"{file.relative_to(ROOT)}:{call.lineno}", {word.arg: ast.unparse(word.value) for word in call.keywords})
        for folder in ("lowmed", "benchmarks")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for call in calls(file)
    ]
    assert len(keywords) > 15
    assert [place for place, words in keywords if words.get("trust_remote_code") != "False"] == []
