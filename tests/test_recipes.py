"""The shipped recipes: their documentation, and that each of them runs."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from data.test_medcalc import rows, write
from judge.served import serving, verdict
from models import tiny
from typer.testing import CliRunner

from lowmed.cli import train
from lowmed.errors import RecipeError
from lowmed.evaluation.judge_calibration import agreement
from lowmed.judge import CLINICAL, Judge, calibration
from lowmed.judge.records import Attacks, RubricCalibration
from lowmed.methods import DpoSpec, GrpoSpec
from lowmed.nano import phantom
from lowmed.prompt import reference_completion
from lowmed.recipe import Recipe
from lowmed.recipe.io import dump_recipe, find_recipe, load_recipe, shipped_recipes
from lowmed.recipe.raw import read_raw
from lowmed.report import recipe_keys
from lowmed.rewards.check import score_completion
from lowmed.rewards.registry import for_recipe
from lowmed.rewards.weighted import total
from lowmed.sample import Sample

Lowmed = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parent.parent
SHIPPED = shipped_recipes()
JUDGED = ("zhu-msa",)
# Settings that a paper could have published. Each recipe gives their source, even where it uses the default.
FIXABLE = ("model.name", "model.load_in", "model.max_image_tokens", "lora.rank", "lora.alpha", "data.source", "prompts",
           "method.max_steps", "method.prompts_per_step", "method.learning_rate", "method.lr_scheduler_type",
           "method.max_grad_norm")  # fmt: skip
FIXABLE_OF_GRPO = ("method.num_generations", "method.temperature", "method.max_completion_length", "method.loss_type",
                   "method.scale_rewards", "method.beta", "method.rewards")  # fmt: skip


def written(values: dict[str, Any], above: str = "") -> list[str]:
    """The dotted keys of a recipe file."""
    result = []
    for key, value in values.items():
        name = f"{above}{key}"
        result += written(value, f"{name}.") if isinstance(value, dict) else [name]
    return result


def has_source(key: str, provenance: dict[str, str]) -> bool:
    return any(f"{key}.".startswith(f"{name}.") for name in provenance)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_value_has_a_source(name: str) -> None:
    values = read_raw(find_recipe(name)).values
    keys = [key for key in written(values) if not key.startswith(("about", "provenance"))]
    fixable = FIXABLE + (FIXABLE_OF_GRPO if values["method"]["kind"] == "grpo" else ())
    assert [key for key in (*keys, *fixable) if not has_source(key, values["provenance"])] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_begins_with_its_commands(name: str) -> None:
    text = find_recipe(name).read_text()
    for word in ("# start ", "# try ", "# cost "):
        assert f"\n{word}" in text
    assert f"--recipe {name}" in text
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("name", SHIPPED)
def test_show_prints_the_row_of_the_table_and_a_valid_recipe(name: str) -> None:
    from lowmed.cli.recipes import app

    shown = CliRunner().invoke(app, ["show", name]).stdout
    for column in ("idea", "source", "faithful", "reconstructed", "measured"):
        assert f"# {column} " in shown
    assert yaml.safe_load(shown)["about"]


def test_the_table_has_every_recipe_once_and_a_place_for_the_estimates() -> None:
    text = (ROOT / "recipes/README.md").read_text()
    rows = [line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")]
    table = rows[: len(SHIPPED)]
    assert sorted(table) == SHIPPED
    assert text.index("<!-- plan -->") < text.index("<!-- /plan -->")


def test_the_page_of_recipe_keys_is_up_to_date() -> None:
    page = (ROOT / "docs/recipes.md").read_text()
    assert page.strip() == recipe_keys.markdown(Recipe.model_json_schema()), "lowmed recipes schema --markdown"
    assert "|  |" not in page, "a key has no description"


def test_every_counterpart_is_an_argument_of_the_installed_library() -> None:
    import inspect

    import datasets
    import transformers
    import trl
    from peft import LoraConfig, PeftModel
    from trl.experimental import cpo

    arguments = {
        "PreTrainedModel.from_pretrained": inspect.signature(transformers.PreTrainedModel.from_pretrained).parameters,
        "PeftModel.from_pretrained": inspect.signature(PeftModel.from_pretrained).parameters,
        "Qwen2VLImageProcessor": transformers.Qwen2VLImageProcessor.valid_kwargs.__annotations__,
        "GenerationConfig": vars(transformers.GenerationConfig()),
        "interleave_datasets": inspect.signature(datasets.interleave_datasets).parameters,
        "LoraConfig": LoraConfig.__dataclass_fields__,
        "EarlyStoppingCallback": inspect.signature(transformers.EarlyStoppingCallback).parameters,
    }
    for module, names in (
        (transformers, ("TrainingArguments", "BitsAndBytesConfig")),
        (trl, [f"{method}{kind}" for method in ("GRPO", "SFT", "DPO", "KTO") for kind in ("Config", "Trainer")]),
        (cpo, ("CPOConfig",)),
    ):
        arguments |= {name: inspect.signature(getattr(module, name)).parameters for name in names}
    rows = recipe_keys.counterparts(Recipe.model_json_schema())
    assert len(rows) > 30
    for key, owner, expression in rows:
        for name in re.findall(r"[a-z_]\w*", expression):
            assert name in arguments[owner], key


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("zhu-msa", {"rewards"}),
        ("zhu-ecr", {"rewards"}),
        ("zhu-cwr", {"rewards"}),
        ("zhu-drgrpo", {"loss_type", "scale_rewards"}),
    ],
)
def test_each_variant_of_zhu_changes_one_setting(name: str, keys: set[str]) -> None:
    base, switch = load_recipe("zhu-base"), load_recipe(name)
    changed = {field for field in Recipe.model_fields if getattr(base, field) != getattr(switch, field)}
    assert changed == {"about", "method", "provenance"}
    assert {key for key in GrpoSpec.model_fields if getattr(base.method, key) != getattr(switch.method, key)} == keys
    assert isinstance(base.method, GrpoSpec)
    assert isinstance(switch.method, GrpoSpec)
    assert switch.method.rewards[:2] == base.method.rewards
    assert len(switch.method.rewards) <= 3


def test_base_and_instruct_models_differ_by_one_override() -> None:
    base = load_recipe("zhu-base", ["model.name=Qwen/Qwen2-VL-2B"])
    assert base.model.name == "Qwen/Qwen2-VL-2B"
    assert "model.name" not in base.provenance


def test_med_r1_with_and_without_thinking_differ_only_in_prompts() -> None:
    think, nothink = load_recipe("med-r1-think"), load_recipe("med-r1-nothink")
    assert think.method == nothink.method
    assert (think.data, think.model, think.lora) == (nothink.data, nothink.model, nothink.lora)
    assert (think.prompts.training.completion_format, nothink.prompts.training.completion_format) == (
        "think_answer",
        "answer",
    )


def test_format_is_a_gate_without_weight_in_medvlthinker() -> None:
    method = load_recipe("medvlthinker").method
    assert isinstance(method, GrpoSpec)
    form = next(reward for reward in method.rewards if reward.name == "format")
    assert (form.gate, form.weight) == (True, 0)


def test_the_advantages_of_ehr_medcalc_are_those_of_ehrmind() -> None:
    """EHRMind pays -2 for a broken form, 0 for a wrong and 1.1 for a right answer; GRPO subtracts the group's mean."""
    rewards = for_recipe(load_recipe("ehr-medcalc"))
    sample = Sample("1", "What is it?", "22.145", "number", "g", "t", lower="21.038", upper="23.252")
    thought = "<think>I divide the weight by the square.</think>"
    published = {
        f"{thought}<answer>22.1 kg/m2</answer>": 1.1,
        f"{thought}<answer>30</answer>": 0.0,
        f"{thought}<answer>cannot tell</answer>": 0.0,
        f"{thought}<answer>22.1</answer> So 22.1.": -2.0,
        f"{thought}{thought}<answer>22.1</answer>": -2.0,
        f"{thought}22.1": -2.0,
        "<answer>22.1</answer>": -2.0,
        thought.removesuffix("</think>"): -2.0,
    }
    totals = [total(rewards, score_completion(rewards, sample, text)) for text in published]
    assert totals == pytest.approx([value + 2 for value in published.values()])


def test_both_stages_of_ehr_medcalc_have_the_same_prompts_data_and_adapter() -> None:
    first, then = load_recipe("ehr-medcalc-sft"), load_recipe("ehr-medcalc")
    assert (first.model, first.lora, first.data, first.prompts) == (then.model, then.lora, then.data, then.prompts)
    assert then.prompts.training.opening == "<think>"


def test_nano_keeps_the_task_of_the_data_and_takes_the_questions_of_the_prompts(tmp_path: Path) -> None:
    nano = load_recipe("vie", nano=True)
    assert (nano.data.source, nano.data.task, nano.data.sample_keys) == ("phantom-forms", "questions", True)
    assert "data.sample_keys" in nano.provenance
    assert "data.source" not in nano.provenance
    file = tmp_path / "mine.yaml"
    file.write_text(find_recipe("vie").read_text().replace("sample_keys: true}", "task: extraction}"))
    assert load_recipe(str(file), nano=True).data.task == "extraction"
    assert load_recipe("medvlthinker", nano=True).data.difficulty is None


def test_mistakes_in_a_custom_prompt_family_are_reported_by_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = yaml.safe_load(find_recipe("rl-plain").read_text())
    text["prompts"] = {
        "families": {"mine": {"wordings": ["{question}"], "completion_formats": "answer"}},
        "train": "mine",
    }
    file.write_text(yaml.safe_dump(text))
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(file))
    expected = "prompts.families.mine.completion_formats  is not a recipe key. Did you mean `completion_format`?"
    assert expected in caught.value.where
    text["prompts"]["families"]["mine"] = {"wordings": ["{question}"], "completion_format": "answer"}
    file.write_text(yaml.safe_dump(text))
    recipe = load_recipe(str(file))
    again = tmp_path / "again.yaml"
    again.write_text(dump_recipe(recipe))
    assert load_recipe(str(again)) == recipe
    assert recipe.prompts.training.wordings == ("{question}",)
    edited = load_recipe(str(file), ["prompts.families.mine.wordings=['Now: {question}']"])
    assert edited.digest != recipe.digest


PAIRED = ("dpo", "kto", "mdpo", "simpo")
TINY = ["--nano", "method.max_steps=2", "eval.max_new_tokens=32"]
SMALL = {
    "sft": ["method.prompts_per_step=2"],
    "dpo": ["method.prompts_per_step=2", "data.pairs=pairs.jsonl"],
    "kto": ["method.prompts_per_step=2", "data.unpaired=unpaired.jsonl"],
    "grpo": ["method.prompts_per_step=2", "method.num_generations=2", "method.max_completion_length=32"],
}


def trained(name: str, *overrides: str) -> None:
    """Train the recipe into the folder `run`, in this process, because a new one would import torch again."""
    kind = load_recipe(name, nano=True).method.kind
    app = typer.Typer()
    app.command()(train.command(kind))
    arguments = ["--recipe", name, *TINY, *SMALL[kind], *overrides, "--out", "run"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def write_preferences(folder: Path, recipe: Recipe) -> None:
    texts = {one.id: reference_completion(recipe.prompts.training, one) for one in phantom.samples("train", 8)}
    rows: dict[str, list[dict[str, object]]] = {
        "pairs": [{"id": name, "chosen": text, "rejected": f"{text} No."} for name, text in texts.items()],
        "unpaired": [
            {"id": name, "completion": text, "label": number % 2 == 0}
            for number, (name, text) in enumerate(texts.items())
        ],
    }
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_recipes_for_pairs_and_labels_name_the_commands_that_make_them() -> None:
    paired = [name for name in SHIPPED if load_recipe(name).method.preferences]
    assert paired == sorted(PAIRED)
    for name in paired:
        text = find_recipe(name).read_text()
        assert "lowmed probe" in text
        assert "lowmed data pairs" in text


def test_mdpo_is_dpo_with_two_more_terms() -> None:
    plain, terms = load_recipe("dpo"), load_recipe("mdpo")
    assert (plain.model, plain.lora, plain.data, plain.prompts) == (terms.model, terms.lora, terms.data, terms.prompts)
    changed = {key for key in DpoSpec.model_fields if getattr(plain.method, key) != getattr(terms.method, key)}
    assert changed == {"image_weight", "anchor_weight"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in JUDGED])
def test_every_recipe_runs_on_nano(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name, nano=True)
    write_preferences(tmp_path, recipe)
    trained(name)
    record = json.loads(Path("run/run.json").read_text())
    assert (record["status"], record["steps"]) == ("finished", 2)
    assert record["prompt_digests"] == {"train": recipe.prompts.training.digest, "infer": recipe.prompts.asking.digest}
    if isinstance(recipe.method, GrpoSpec):
        scores = [json.loads(line)["scores"] for line in Path("run/rollouts.jsonl").read_text().splitlines()]
        assert {tuple(score) for score in scores} == {tuple(reward.name for reward in recipe.method.rewards)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ehr-medcalc-sft", "ehr-medcalc"])
def test_the_stages_of_ehr_medcalc_run_on_a_text_only_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path / "notes", train=rows() + [{**row, "Patient Note": f"{row['Patient Note']} Again."} for row in rows()]
    )
    kind = load_recipe(name).method.kind
    app = typer.Typer()
    app.command()(train.command(kind))
    model = [f"model.name={tiny.save('llama', tmp_path / 'llama')}", "model.load_in=16bit"]
    data = ["data.path=notes", "method.max_steps=2", "eval.max_new_tokens=32"]
    arguments = ["--recipe", name, *model, *data, *SMALL[kind], "--out", "run"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert json.loads(Path("run/run.json").read_text())["status"] == "finished"
    if kind == "grpo":
        rollouts = [json.loads(line) for line in Path("run/rollouts.jsonl").read_text().splitlines()]
        assert all(rollout["completion"].startswith("<think>") for rollout in rollouts)


@pytest.mark.parametrize("name", JUDGED)
def test_a_recipe_that_needs_a_judge_does_not_start_without_one(
    name: str, lowmed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    refused = lowmed("grpo", "--recipe", name, "--nano", "--out", "run")
    assert refused.returncode == 2
    assert "judge" in refused.stderr


def calibrated(file: Path, judge: Judge) -> None:
    """Write the calibration of a judge that agrees with the labels."""
    labels = agreement([(True, True), (False, False)] * 60)
    result = RubricCalibration(
        passed=True,
        faults=(),
        judge=judge.identity(CLINICAL),
        rows=120,
        skipped_rows=0,
        no_verdict=0,
        all=labels,
        judged_by_model=labels,
        attacks=Attacks(tried=9, accepted=0, accepted_texts=()),
        disagreements=(),
        usage=judge.usage(),
    )
    calibration.write(file, judge, CLINICAL, result)


@pytest.mark.slow
def test_the_recipe_with_a_judge_reward_runs_with_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(lambda request: verdict(request, accepted=True)) as server:
        calibrated(tmp_path / "judge.json", Judge(server.url, "m"))
        judge = [f"judge.url={server.url}", "judge.model=m", "judge.calibration=judge.json"]
        trained("zhu-msa", *judge)
        assert server.requests
    rows = [json.loads(line) for line in Path("run/rollouts.jsonl").read_text().splitlines()]
    assert 1.0 in [row["scores"]["clinical"]["value"] for row in rows]
