"""JSON files of runs, models and data folders that somebody else made deep, huge or half."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzz.mutate import mutated_json, search
from hypothesis import given
from hypothesis import strategies as st

from lowmed import nano
from lowmed.architectures import read_architecture
from lowmed.data.ingest.prepared_folder import data_card
from lowmed.errors import LowmedError
from lowmed.files import load_json
from lowmed.recipe import ModelSpec
from lowmed.records import RunRecord, read_record
from lowmed.ship.gguf.source import read_object
from lowmed.ship.weights import tensor_locations

CONTENTS = [
    "[" * 200_000,
    '{"a":' * 200_000,
    "",
    "{",
    "[]",
    "null",
    "3",
    '"text"',
    "\ufeff{}",
    "{}\0",
    '{"format": 1e999}',
    "NaN",
]
READERS: dict[str, Callable[[Path], Any]] = {
    "run.json": lambda file: read_record(file, RunRecord),
    "card.json": lambda file: data_card(file.parent),
    "config.json": lambda file: read_architecture(ModelSpec(name=str(file.parent))),
    "model.safetensors.index.json": lambda file: tensor_locations(file.parent),
    "tokenizer_config.json": lambda file: read_object(file.parent, file.name),
}

FILES: dict[str, Any] = {
    "run.json": {"format": 1, "name": "a", "status": "stopped", "started": "2026", "recipe_digest": "d", "steps": 4,
                 "batch": {"a": 1}, "source_shares": {"a": 0.5}, "image_pixels": [1, 2], "judge_usage": []},
    "card.json": {"format": 1, "source": "own", "rows": {"train": 3}, "kinds": {"open": 3}, "images": 2, "has_images":
                  True, "max_image_tokens": 256, "frames": "first", "window": None, "rejected": {}, "image_notes":
                  {"blank": 0}, "samples_sha256": "d", "lowmed": "1"},
    "config.json": json.loads((nano.folder() / "config.json").read_text()),
    "model.safetensors.index.json": {"metadata": {"total_size": 9}, "weight_map": {"a": "b.safetensors"}},
    "tokenizer_config.json": {"chat_template": "{{ a }}", "eos_token": {"content": "x"}, "added_tokens_decoder": {}},
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_a_broken_json_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    try:
        READERS[name](file)
    except LowmedError as error:
        assert str(tmp_path) in error.where
        assert len(str(error)) < 1000


@pytest.mark.parametrize("name", READERS)
@search(100)
@given(st.integers(0, 2**32))
def test_a_changed_json_file_is_read_or_named(tmp_path_factory: Any, name: str, seed: int) -> None:
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(mutated_json(json.dumps(FILES[name]), seed))
    try:
        READERS[name](file)
    except LowmedError as error:
        assert len(str(error)) < 1000


def test_the_size_of_a_json_file_is_limited_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text("{")
    os.truncate(file, 2**40)
    with pytest.raises(ValueError, match="larger than 256 MiB"):
        load_json(file)
