"""The table of measured choices."""

import json
from pathlib import Path
from typing import get_args

import pytest

from lowmed.plan import faster
from lowmed.recipe import ModelSpec


def test_a_measured_choice_is_found_by_setting_and_name_of_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "faster.json"
    table.write_text(json.dumps({"NVIDIA Abacus": {"backend": "unsloth"}}))
    monkeypatch.setattr(faster, "TABLE", table)
    assert faster.measured_faster("backend", "NVIDIA Abacus") == "unsloth"
    assert faster.measured_faster("rollout", "NVIDIA Abacus") is None
    assert faster.measured_faster("backend", "NVIDIA Abacus 2") is None


def test_the_shipped_table_has_only_values_that_a_recipe_accepts() -> None:
    for choices in json.loads(faster.TABLE.read_text(encoding="utf-8")).values():
        assert set(choices) <= set(get_args(faster.Setting))
        ModelSpec(**choices)
