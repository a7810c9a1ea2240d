"""`lowmed check` refuses what training refuses, with the same error."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from models import tiny
from PIL import Image
from typer.testing import CliRunner

from lowmed.api.bridge import bridge
from lowmed.api.check import check
from lowmed.cli import app
from lowmed.errors import LowmedError
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample

Arguments = list[str]


def write_samples(folder: Path, *rows: dict[str, object]) -> Arguments:
    folder.mkdir()
    for number, row in enumerate(rows):
        for name in row["images"]:  # type: ignore[attr-defined]
            if not (folder / str(name)).exists():
                Image.new("L", (64, 64), 10 * number).save(folder / str(name))
    lines = (json.dumps({"question": "Is it grey?", "kind": "closed", **row}) + "\n" for row in rows)
    (folder / "samples.jsonl").write_text("".join(lines))
    return ["data.source=folder", f"data.path={folder}"]


def row(number: int, image: str, split: str, answer: str = "yes") -> dict[str, object]:
    return {"id": str(number), "images": [image], "split": split, "answer": answer}


def difficulty(folder: Path, text: str) -> Arguments:
    (folder / "difficulty.jsonl").write_text(text)
    return [f"data.difficulty={folder / 'difficulty.jsonl'}"]


def pass_count(name: str) -> str:
    return json.dumps({"id": name, "completions": 4, "correct": 2}) + "\n"


def missing_difficulty(folder: Path) -> Arguments:
    return [f"data.difficulty={folder / 'missing.jsonl'}"]


def difficulty_of_other_samples(folder: Path) -> Arguments:
    return difficulty(folder, pass_count("other"))


def corrupt_difficulty_line(folder: Path) -> Arguments:
    return difficulty(folder, pass_count(phantom.samples("train", 1)[0].id) + '{"id": "2", "compl')


def unknown_source(_folder: Path) -> Arguments:
    return ["data.source=vqa_rad"]


def missing_path(folder: Path) -> Arguments:
    return ["data.source=vqa-rad", f"data.path={folder / 'missing'}"]


def official_split_that_shares_images(folder: Path) -> Arguments:
    return [
        *write_samples(folder / "d", row(1, "a.png", "train"), row(2, "a.png", "test")),
        "data.split_by=official",
    ]


def no_training_row_of_the_modality(_folder: Path) -> Arguments:
    return ["data.modality=PET"]


def no_training_row_after_holding_out(folder: Path) -> Arguments:
    return [*write_samples(folder / "d", row(1, "a.png", "train")), "data.held_out=0.9"]


def too_many_rejected_rows(folder: Path) -> Arguments:
    rows = [row(number, f"{number}.png", "train", answer="" if number == 3 else "yes") for number in range(9)]
    return write_samples(folder / "d", *rows)


def gold_that_cannot_be_read(folder: Path) -> Arguments:
    rows = [{**row(number, f"{number}.png", "train"), "kind": "open"} for number in range(8)]
    rows[0]["answer"] = "<answer>"
    return write_samples(folder / "d", *rows)


def a_reward_that_abstains(folder: Path) -> Arguments:
    return write_samples(folder / "d", *(row(number, f"{number}.png", "train") for number in range(9)))


def unknown_reward(_folder: Path) -> Arguments:
    return ["method.rewards=[{name: accurcy}]"]


def reward_without_its_judge(_folder: Path) -> Arguments:
    return ["method.rewards=[{name: judge}]"]


def vllm_rollout(_folder: Path) -> Arguments:
    return ["model.rollout=vllm"]


def missing_starting_adapter(folder: Path) -> Arguments:
    return [f"lora.start={folder / 'missing'}"]


def starting_adapter_of_another_rank(folder: Path) -> Arguments:
    (folder / "adapter_config.json").write_text('{"r": 4}')
    return [f"lora.start={folder}"]


def damaged_starting_adapter(folder: Path) -> Arguments:
    (folder / "adapter_config.json").write_text("{")
    return [f"lora.start={folder}"]


def missing_model_folder(folder: Path) -> Arguments:
    return [f"model.name={folder / 'missing'}"]


def model_of_an_unknown_family(folder: Path) -> Arguments:
    (folder / "config.json").write_text('{"model_type": "llava"}')
    return [f"model.name={folder}"]


def model_in_a_gguf_file(folder: Path) -> Arguments:
    (folder / "model.gguf").write_bytes(b"GGUF")
    return [f"model.name={folder / 'model.gguf'}"]


def model_without_a_chat_template(folder: Path) -> Arguments:
    (tiny.save("llama", folder / "llama") / "chat_template.jinja").unlink()
    return [f"model.name={folder / 'llama'}"]


def model_without_an_image_processor(folder: Path) -> Arguments:
    model = tiny.save("qwen3_vl", folder / "qwen3")
    for name in ("preprocessor_config.json", "processor_config.json"):
        (model / name).unlink()
    return [f"model.name={model}"]


def text_only_model_with_unsloth(folder: Path) -> Arguments:
    return [f"model.name={tiny.save('llama', folder / 'llama')}", "model.backend=unsloth"]


def images_for_a_text_only_model(folder: Path) -> Arguments:
    return [f"model.name={tiny.save('llama', folder / 'llama')}"]


BROKEN: list[Callable[[Path], Arguments]] = [
    missing_difficulty,
    difficulty_of_other_samples,
    corrupt_difficulty_line,
    unknown_source,
    missing_path,
    official_split_that_shares_images,
    no_training_row_of_the_modality,
    no_training_row_after_holding_out,
    too_many_rejected_rows,
    gold_that_cannot_be_read,
    a_reward_that_abstains,
    unknown_reward,
    reward_without_its_judge,
    vllm_rollout,
    missing_starting_adapter,
    starting_adapter_of_another_rank,
    damaged_starting_adapter,
    missing_model_folder,
    model_of_an_unknown_family,
    model_in_a_gguf_file,
    model_without_a_chat_template,
    model_without_an_image_processor,
    text_only_model_with_unsloth,
    images_for_a_text_only_model,
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda function: function.__name__)
def test_check_and_training_refuse_a_recipe_with_the_same_error(
    broken: Callable[[Path], Arguments], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--recipe", "rarl", "--nano", *broken(tmp_path)]
    checked = CliRunner().invoke(app, ["check", *arguments]).exception
    trained = CliRunner().invoke(app, ["grpo", *arguments]).exception
    assert isinstance(checked, LowmedError), repr(checked)
    assert isinstance(trained, LowmedError), repr(trained)
    assert (type(checked), str(checked)) == (type(trained), str(trained))
    assert not (tmp_path / "runs").exists()


def explained(count: int, of: int) -> list[dict[str, object]]:
    rows = [row(number, f"{number}.png", "train") for number in range(of)]
    return [{**one, "explanation": "Every pixel has one value." * (number < count)} for number, one in enumerate(rows)]


def test_check_and_sft_refuse_reasoning_without_explanations_with_the_same_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--recipe", "rarl-sft", "--nano", *write_samples(tmp_path / "d", *explained(8, of=24))]
    errors = [CliRunner().invoke(app, [verb, *arguments]).exception for verb in ("check", "sft")]
    assert str(errors[0]) == str(errors[1])
    assert "training questions have no explanation" in str(errors[0])
    assert not (tmp_path / "runs").exists()
    for fix in (["prompts.train=direct", "prompts.infer=direct"], ["data.allow_missing_explanations=true"]):
        assert CliRunner().invoke(app, ["check", *arguments, *fix]).exit_code == 0


def test_check_prints_what_sft_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--recipe", "rarl-sft", "--nano", *write_samples(tmp_path / "d", *explained(16, of=24))]
    result = CliRunner().invoke(app, ["check", *arguments])
    assert result.exit_code == 0, result.exception
    assert re.search(r"SFT +[1-8] of [0-9]+ training questions are left out: no explanation", result.stdout)


def test_an_allowed_abstention_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    allowed = ["method.allow_abstaining=[reasoning]", *a_reward_that_abstains(tmp_path)]
    result = CliRunner().invoke(app, ["check", "--recipe", "rarl", "--nano", *allowed])
    assert result.exit_code == 0, result.exception
    assert "allowed  the reward `reasoning` abstains on" in result.stdout


def test_check_reports_whether_a_bridge_can_train_by_sft(tmp_path: Path) -> None:
    fits = check(load_recipe("medbridge", nano=True)).explanations
    assert "SFT rounds of `lowmed bridge` train on" in fits[0]
    bare = ["bridge.sft_prompts=null", *a_reward_that_abstains(tmp_path)]
    report = check(load_recipe("medbridge", bare, nano=True))
    assert report.passed
    assert "`lowmed bridge` refuses these data" in report.explanations[0]
    with pytest.raises(LowmedError, match="have no explanation"):
        bridge(load_recipe("medbridge", bare, nano=True), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_report_names_what_the_difficulty_filter_left_out(tmp_path: Path) -> None:
    ids = [sample.id for sample in training_samples()]
    never = json.dumps({"id": ids[0], "completions": 4, "correct": 0}) + "\n"
    overrides = difficulty(tmp_path, never + pass_count(ids[1]))
    report = check(load_recipe("rarl", overrides, nano=True))
    assert report.passed
    assert report.difficulty[0].startswith("1 training questions, ")
    assert report.difficulty[0].endswith(f"{len(ids) - 2:,} never probed, 1 never right")
    assert report.as_json()["difficulty"] == report.difficulty
    assert report.images.most_tokens <= report.images.budget


def training_samples() -> list[Sample]:
    from lowmed.data import for_recipe

    return list(for_recipe(load_recipe("rarl", [], nano=True)).split.train)


def test_json_is_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["check", "--recipe", "rarl-sft", "--nano", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["verdict"] == "ready to train"
    assert report["rewards"] is None
