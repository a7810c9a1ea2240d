"""Every family passes check, trains by SFT and GRPO from the commands, and is evaluated; text-only ones are merged."""

import json
import subprocess
from pathlib import Path

import pytest
from commands import Commands
from conftest import Lowmed
from models import tiny

from lowmed.models import FAMILIES

VISION = ("qwen2_5_vl", "qwen3_vl", "gemma3", "internvl", "smolvlm")
TEXT = ("llama", "qwen2", "qwen3")
SMALL = ("method.max_steps=1", "method.prompts_per_step=2", "eval.max_new_tokens=8")
GROUPS = ("method.num_generations=2", "method.max_completion_length=8")
# What needs lowmed's forward pass: groups without different rewards are replaced, references join the others.
OWN_FORWARD = ("method.max_completion_length=96", "method.dynamic_sampling=1", "method.mix.kind=luffy")


def text_rows(folder: Path) -> str:
    """A folder of questions without images."""
    folder.mkdir(parents=True)
    rows = [
        {"id": f"r{number}", "question": f"A dose of {number} mg, twice a day. How many mg a day?",
         "answer": str(2 * number), "kind": "open", "group": f"g{number}", "explanation": f"2 times {number}."}
        for number in range(10, 40)
    ]  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def of(family: str, folder: Path) -> list[str]:
    """The model and the data of a family's runs."""
    model = [f"model.name={tiny.save(family, folder / family)}"]
    if FAMILIES[family].text_only:
        return [*model, "data.source=folder", f"data.path={text_rows(folder / 'rows')}", "data.split_by=image"]
    return [*model, "data.source=phantom", "data.max_train_questions=8"]


def passes(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr


def test_the_tests_cover_every_family() -> None:
    assert {*VISION, *TEXT, "qwen2_vl"} == set(FAMILIES)  # nano is the one of qwen2_vl


def test_the_page_of_bases_states_what_the_families_support() -> None:
    page = (Path(__file__).parents[2] / "docs/models.md").read_text()
    rows = [
        line.strip("| ").split(" | ")
        for line in page.splitlines()
        if line.count("|") == 10 and "model_type" not in line and "---" not in line
    ]
    assert [row[1].strip("`") for row in rows] == list(FAMILIES)
    for _title, model_type, check, train, shared, cache, asking, merging, gguf in rows:
        family = FAMILIES[model_type.strip("`")]
        assert check == train == asking == merging == "yes"
        assert shared == ("yes" if family.shared_prefix else "no")
        assert cache == ("text only" if family.text_only else "yes" if family.vision_cache else "no")
        assert gguf == ("yes" if family.gguf_architecture else "no")


@pytest.mark.slow
@pytest.mark.parametrize("family", [*VISION, *TEXT])
def test_a_family_passes_check_and_trains(family: str, tmp_path: Path, lowmed: Lowmed) -> None:
    chosen = of(family, tmp_path)
    passes(lowmed("check", "--recipe", "rarl-sft", *chosen))
    passes(lowmed("sft", "--recipe", "rarl-sft", *chosen, *SMALL, "model.load_in=4bit", "--out", "sft"))
    passes(lowmed("grpo", "--recipe", "rl-plain", *chosen, *SMALL, *GROUPS, "model.load_in=4bit",
                  *(OWN_FORWARD if FAMILIES[family].shared_prefix else ()),
                  f"lora.start={tmp_path / 'sft'}", "--out", "grpo"))  # fmt: skip
    [step] = map(json.loads, (tmp_path / "grpo/metrics.jsonl").read_text().splitlines())
    assert ("reference_logp" in step) == ("extra_completions" in step) == FAMILIES[family].shared_prefix
    passes(lowmed("eval", "grpo", "--with-base", "--questions", "4", "--controls", "0"))
    passes(lowmed("merge", "grpo", "--out", "merged", "--questions", "2"))
    norm = json.loads((tmp_path / "sft/metrics.jsonl").read_text().splitlines()[-1])["adapter_norm"]
    assert norm > 0


@pytest.mark.slow
def test_a_text_only_run_is_verified_merged_and_served(tmp_path: Path, lowmed: Lowmed, commands: Commands) -> None:
    passes(lowmed("sft", "--recipe", "rarl-sft", *of("llama", tmp_path), *SMALL, "model.load_in=16bit", "--out", "run"))
    passes(lowmed("verify", "run"))
    passes(lowmed("export", "run", "--to", "vllm", "--out", "served"))
    for name in ("serve.sh", "serve-adapter.sh"):
        assert "--limit-mm" not in (tmp_path / "served" / name).read_text()
    package = json.loads((tmp_path / "served/lowmed.json").read_text())
    assert package["pixels"] == {}
    example = commands.run_script(tmp_path, str(tmp_path / "served/example.py"), "A dose of 5 mg, twice a day?")
    assert example.returncode == 0, example.stderr
