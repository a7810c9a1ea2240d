"""A model that was trained to fill in a JSON object is asked for one, whatever data it is evaluated on."""

import json
from pathlib import Path

import pytest

from lowmed.data.load import load
from lowmed.data.split import split_data
from lowmed.evaluate.target import EvalTarget, open_target, split_to_probe, splits_to_evaluate
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
    return run


def test_an_extraction_run_is_asked_for_an_object_on_other_data_too(tmp_path: Path, other: str) -> None:
    who = open_target(str(trained(tmp_path / "run", "extraction").folder))
    [(own, seen)] = splits_to_evaluate(who, None, None, None)
    assert (seen, {sample.kind for sample in own.held_out["test"]}) == ("seen in training", {"json"})
    [(data_split, seen)] = splits_to_evaluate(who, "folder", other, None)
    assert seen == "unseen"
    assert {sample.kind for part in (data_split.train, *data_split.held_out.values()) for sample in part} == {"json"}
    assert data_split.held_out["test"][0].question.startswith("Fill in one JSON object with these keys:\n")
    probed, _ = split_to_probe(who, "folder", other, 4)
    assert {sample.kind for sample in probed.held_out["train"]} == {"json"}


def test_an_exported_extraction_model_is_one_too(tmp_path: Path, other: str) -> None:
    run = trained(tmp_path / "run", "extraction")
    (tmp_path / "export").mkdir()
    (tmp_path / "export/recipe.yaml").write_text((run.folder / "recipe.yaml").read_text())
    who = open_target(str(tmp_path / "export"))
    assert who.run is None
    [(data_split, _)] = splits_to_evaluate(who, "folder", other, None)
    assert data_split.held_out["test"][0].kind == "json"


def test_questions_stay_questions(tmp_path: Path, other: str) -> None:
    for who in (open_target(str(trained(tmp_path / "run", "questions").folder)), open_target("nano")):
        assert isinstance(who, EvalTarget)
        [(data_split, _)] = splits_to_evaluate(who, "folder", other, None)
        assert [sample.kind for sample in data_split.held_out["test"]] == ["open", "open"]
