"""A model trained on the extraction task gets that task on every data source."""

import json
from pathlib import Path

import pytest

from lowmed.data.load import load
from lowmed.data.run_identity import store_data
from lowmed.data.split import split_data
from lowmed.evaluation.target import EvalTarget, open_target, split_to_probe, splits_to_evaluate
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run

ROWS: list[dict[str, object]] = [
    {"id": f"{image}{topic}", "images": [], "group": image, "question": f"Which {topic} of {image}?", "answer": "left",
     "kind": "open", "topic": topic, "split": split}
    for image, split in (*((f"a{number}", "train") for number in range(12)), ("b", "test"))
    for topic in ("side", "place")
]  # fmt: skip


@pytest.fixture
def other(tmp_path: Path) -> str:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(tmp_path / "other")


def trained(folder: Path, task: str) -> Run:
    recipe = load_recipe(
        "vie", ["data.source=phantom", f"data.task={task}", "data.max_train_questions=null"], nano=True
    )
    run = create_run(recipe, "vie", out=str(folder))
    data_split = split_data(load("phantom", None), recipe.data, recipe.seed)
    run.update(status="finished", data_digest=data_split.digest)
    store_data(run.folder, data_split)
    return run


def test_an_extraction_run_gets_extraction_questions_on_other_data_too(tmp_path: Path, other: str) -> None:
    target = open_target(str(trained(tmp_path / "run", "extraction").folder))
    [(run_split, seen)] = splits_to_evaluate(target, None, None, None)
    assert (seen, {sample.kind for sample in run_split.held_out["test"]}) == ("seen in training", {"json"})
    [(data_split, seen)] = splits_to_evaluate(target, "folder", other, None)
    assert seen == "unseen"
    assert {sample.kind for part in (data_split.train, *data_split.held_out.values()) for sample in part} == {"json"}
    assert data_split.held_out["test"][0].question.startswith("Fill in one JSON object with these keys:\n")
    probed, _ = split_to_probe(target, "folder", other, 4)
    assert {sample.kind for sample in probed.held_out["train"]} == {"json"}


def test_an_exported_extraction_model_gets_extraction_questions(tmp_path: Path, other: str) -> None:
    run = trained(tmp_path / "run", "extraction")
    (tmp_path / "export").mkdir()
    (tmp_path / "export/recipe.yaml").write_text((run.folder / "recipe.yaml").read_text())
    target = open_target(str(tmp_path / "export"))
    assert target.run is None
    [(data_split, _)] = splits_to_evaluate(target, "folder", other, None)
    assert data_split.held_out["test"][0].kind == "json"


def test_other_models_get_single_questions(tmp_path: Path, other: str) -> None:
    for target in (open_target(str(trained(tmp_path / "run", "questions").folder)), open_target("nano")):
        assert isinstance(target, EvalTarget)
        [(data_split, _)] = splits_to_evaluate(target, "folder", other, None)
        assert [sample.kind for sample in data_split.held_out["test"]] == ["open", "open"]
