"""The target of an evaluation: a run, a model, or an adapter without a run."""

import json
from pathlib import Path

import pytest

from lowmed.errors import RecipeError, RunError
from lowmed.evaluation.target import open_target


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
