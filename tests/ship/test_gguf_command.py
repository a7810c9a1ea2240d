"""`lowmed export RUN --to gguf` of text-only runs: files that llama.cpp reads, and refusals before the merge."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Lowmed
from models.test_families import SMALL, text_rows
from ship import gguf_text_made as made
from ship.test_gguf import fields, tensors
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.errors import SetupError

pytest.importorskip("gguf", reason="the extra `gguf` is not installed")


@pytest.fixture
def trained(tmp_path: Path, lowmed: Lowmed) -> Path:
    """A run of a small Llama after one step; its base is next to it."""
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256}  # fmt: skip
    base = made.save_model("llama", tmp_path / "base", pre="smollm", rope_parameters=rope)
    data = ("data.source=folder", f"data.path={text_rows(tmp_path / 'rows')}", "data.split_by=image")
    done = lowmed("sft", "--recipe", "text-cot", f"model.name={base}", "model.load_in=16bit", *data, *SMALL,
                  "method.learning_rate=0.01", "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return base


def edit(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return apply


def scale_linearly(config: dict[str, Any]) -> None:
    config["rope_parameters"] = {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}


def split_pairs_of_digits(tokenizer: dict[str, Any]) -> None:
    tokenizer["pre_tokenizer"]["pretokenizers"][0] = made.split_step(r"\p{N}{1,2}")


def test_a_text_only_run_becomes_files_without_anything_of_images(
    trained: Path, tmp_path: Path, lowmed: Lowmed
) -> None:
    done = lowmed("export", "run", "--to", "gguf", "--out", "gguf", "--questions", "2")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "gguf"
    package = json.loads((out / "lowmed.json").read_text())
    assert package["pixels"] == {}
    file = out / f"{package['run']}-f16.gguf"
    assert {path.name for path in out.glob("*.gguf")} == {file.name, f"{package['run']}-q8_0.gguf"}
    assert "llama.cpp was not compared with transformers" in done.stderr
    assert done.stdout.strip().endswith(f"llama-server -m gguf/{file.name} --temp 0")
    assert "image" not in (out / "example.py").read_text()
    assert fields(file)["tokenizer.ggml.pre"] == "smollm"
    base = AutoModelForCausalLM.from_pretrained(trained).state_dict()
    values = tensors(file)
    assert abs(values["blk.0.ffn_up.weight"] - base["model.layers.0.mlp.up_proj.weight"].numpy()).max() > 1e-4

    lowmed("merge", "run", "--out", "merged", "--questions", "0")
    again = lowmed("export", "merged", "--to", "gguf", "--out", "again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    ollama = lowmed("export", "merged", "--to", "ollama", "--out", "ollama")
    assert ollama.returncode == 0, ollama.stderr
    assert "ollama create NAME -f ollama/Modelfile" in ollama.stdout
    assert f"FROM ./{file.name}\nPARAMETER" in (tmp_path / "ollama/Modelfile").read_text()


def test_a_chat_template_without_an_ollama_template_is_refused_before_the_merge(
    trained: Path, tmp_path: Path, lowmed: Lowmed
) -> None:
    template = trained / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "[{{ bos_token }}]"))
    before = sorted(tmp_path.iterdir())
    done = lowmed("export", "run", "--to", "ollama", "--out", "ollama", "--questions", "0")
    assert done.returncode == 2
    assert len(done.stderr[done.stderr.index("error: ") :].splitlines()) == 3
    assert "not plain ChatML" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("trained")
def test_a_missing_package_is_named_before_the_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    before = sorted(tmp_path.iterdir())
    command = ["export", str(tmp_path / "run"), "--to", "gguf", "--out", str(tmp_path / "gguf"), "--questions", "0"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, SetupError)
    assert result.exception.fix == "pip install 'lowmed[gguf]'"
    assert "merge " not in result.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "what", "where"),
    [
        (edit("config.json", scale_linearly), "requires 'default' or 'llama3', this model has 'linear'", "config.json"),
        (edit("tokenizer.json", split_pairs_of_digits), "supports the pre-tokenizers qwen2", "tokenizer.json"),
    ],
)
def test_a_run_that_llama_cpp_could_not_run_is_refused_before_the_merge(
    change: Callable[[Path], None], what: str, where: str, trained: Path, tmp_path: Path, lowmed: Lowmed
) -> None:
    change(trained)
    before = sorted(tmp_path.iterdir())
    done = lowmed("export", "run", "--to", "gguf", "--out", "gguf", "--questions", "0")
    assert done.returncode == 2
    error = done.stderr[done.stderr.index("error: ") :].splitlines()
    assert len(error) == 3
    assert what in error[0]
    assert f"base/{where}" in error[1]
    assert "merge " not in done.stderr
    assert sorted(tmp_path.iterdir()) == before
