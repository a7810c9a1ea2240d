"""The target of an evaluation: a run, a model, or an adapter without a run."""

import json
from pathlib import Path

import pytest
from ship import finished

from lowmed.errors import DataError, RecipeError, RunError
from lowmed.evaluation.target import open_target, split_to_probe, splits_to_evaluate


def adapter(folder: Path, **config: object) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    return folder


def test_a_plain_adapter_folder_is_loaded_on_the_base_that_it_names(tmp_path: Path) -> None:
    target = open_target(str(adapter(tmp_path, base_model_name_or_path="nano")), base=True)
    assert target.model.name == "nano"
    assert target.adapters == {"base": None, "tuned": tmp_path}


def test_an_adapter_that_names_no_base_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not name its base model"):
        open_target(str(adapter(tmp_path, base_model_name_or_path=None)))


def test_a_model_without_an_adapter_is_its_own_base() -> None:
    assert open_target("nano").adapters == {"base": None}
    with pytest.raises(RecipeError, match="is its own base"):
        open_target("nano", base=True)


def test_another_prompt_family_takes_the_place_of_the_recipe_s(tmp_path: Path) -> None:
    run = finished.run(tmp_path / "run")
    target = open_target(str(run), prompts="direct")
    assert (target.family.name, open_target(str(run)).family.name) == ("direct", "reasoning")
    with pytest.raises(RecipeError, match="there is no prompt family `no-such`") as raised:
        open_target(str(run), prompts="no-such")
    assert raised.value.where == "--prompts"


def test_a_prompt_family_that_does_not_fit_the_prefill_is_refused(tmp_path: Path) -> None:
    run = finished.run(tmp_path / "run", "prompts.prefill=<think>", "prompts.train=reasoning")
    with pytest.raises(RecipeError, match="does not fit the prompts `direct`"):
        open_target(str(run), prompts="direct")


@pytest.mark.parametrize("broken", [1, 2])
def test_other_data_with_many_rejected_rows_are_not_evaluated_or_probed(tmp_path: Path, broken: int) -> None:
    rows = [
        {"id": number, "question": "Is it?", "answer": "" if number < broken else "no", "kind": "closed"}
        for number in range(21)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = open_target("nano")
    if broken == 1:
        [(data_split, _)] = splits_to_evaluate(target, "folder", str(tmp_path), None)
        assert len(data_split.held_out["all"]) == 20
        assert split_to_probe(target, "folder", str(tmp_path), 5)[0].held_out["train"]
        return
    for select in (splits_to_evaluate, split_to_probe):
        with pytest.raises(DataError, match="2 of 21 rows of folder cannot be used") as caught:
            select(target, "folder", str(tmp_path), 5)
        assert "--max-rejected 0.096, then --on folder --path DIR" in caught.value.fix.replace("`", "")
