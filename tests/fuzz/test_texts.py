"""Mutated recipes, overrides, prediction files and tables: each is read, or refused in three lines."""

import json
from pathlib import Path
from typing import Any

from fuzz.mutate import PIECES, mutated, search
from hypothesis import given
from hypothesis import strategies as st

from lowmed.errors import LowmedError
from lowmed.evaluation.prediction_file import read_predictions
from lowmed.evaluation.score import score_rows
from lowmed.evaluation.score_summary import summarize
from lowmed.recipe.io import load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@search(100)
@given(st.sampled_from(RECIPES), st.integers(0, 2**32))
def test_a_mutated_recipe_is_read_or_refused(tmp_path_factory: Any, recipe: Path, seed: int) -> None:
    file = tmp_path_factory.mktemp("recipe") / "r.yaml"
    file.write_text(mutated(recipe.read_text(encoding="utf-8"), seed), encoding="utf-8")
    try:
        load_recipe(str(file))
    except LowmedError as error:
        assert error.what
        assert len(str(error)) < 20_000


keys = st.sampled_from(
    ["lora.rank", "method.rewards", "data", "data.sources", "prompts.families", "method.kind", "x", "", "model"]
)


@search(100)
@given(keys, st.sampled_from(["", "=", "=="]), st.text(max_size=12) | st.sampled_from(PIECES))
def test_any_override_is_read_or_refused(key: str, sign: str, value: str) -> None:
    try:
        load_recipe("rarl", [f"{key}{sign}{value}"], nano=True)
    except LowmedError as error:
        assert error.what


cells = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=10) | st.sampled_from(
        ["A", "A,C", "yes", "<answer>B</answer>", "A) CT B) MRI", "[1, 2]", '{"a": 1}', "2.5 cm", "<think>x</think>"]
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["A", "role", "content"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
names = st.sampled_from(
    ["id", "question", "answer", "completion", "options", "kind", "messages", "doc", "target", "A", "B", "prediction",
     "label", "lower", "upper", "unit", "tolerance", "strata", "split", "finish_reason", "group"]
)  # fmt: skip


@search(100)
@given(st.lists(st.dictionaries(names, cells, max_size=8), min_size=1, max_size=3))
def test_any_prediction_file_is_scored_or_refused(tmp_path_factory: Any, rows: list[dict[str, Any]]) -> None:
    file = tmp_path_factory.mktemp("predictions") / "p.jsonl"
    base = {"question": "Is there a mass?", "answer": "no", "completion": "<answer>no</answer>"}
    file.write_text("".join(f"{json.dumps({**base, **row})}\n" for row in rows), encoding="utf-8")
    try:
        summarize(list(score_rows(read_predictions(file).rows, str(file))))
    except LowmedError as error:
        assert error.what
