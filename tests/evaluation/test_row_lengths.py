"""`check` names the rows that are too long to be learnt or answered."""

from dataclasses import replace

import pytest

from lowmed.data import for_recipe
from lowmed.data.split import DataSplit
from lowmed.engine.tokenizer import local_tokens
from lowmed.evaluation.row_lengths import Tokens, describe_row_lengths
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample


def split_of(recipe: Recipe, **changes: str) -> DataSplit:
    """The recipe's data with one changed training question."""
    data_split = for_recipe(recipe).split
    first, *others = data_split.train
    return replace(data_split, train=(replace(first, kind="open", options=(), **changes), *others))  # type: ignore[arg-type]


def lines(recipe: Recipe, data_split: DataSplit) -> list[str]:
    return describe_row_lengths(recipe, data_split.train, held_out(data_split), lambda: local_tokens(recipe.model))


def held_out(data_split: DataSplit) -> list[Sample]:
    return [sample for part in data_split.held_out.values() for sample in part]


@pytest.fixture(scope="module")
def rarl() -> Recipe:
    return load_recipe("rarl", ["data.max_train_questions=40"], nano=True)


def test_rows_that_fit_need_no_tokenizer(rarl: Recipe) -> None:
    def load() -> Tokens | None:
        raise AssertionError("the tokenizer was loaded")

    data_split = for_recipe(rarl).split
    assert describe_row_lengths(rarl, data_split.train, held_out(data_split), load) == []


def test_an_answer_that_no_completion_can_hold_is_named(rarl: Recipe) -> None:
    data_split = split_of(rarl, answer="mass " * 400)
    [line] = lines(rarl, data_split)
    assert line.startswith("1 training answers need more than the 256 tokens of method.max_completion_length")
    assert data_split.train[0].id in line
    assert lines(rarl, split_of(rarl, answer="The mass is on the left. " * 12)) == []  # long in bytes, short in tokens


def test_a_prompt_beyond_the_context_is_named(rarl: Recipe) -> None:
    [line] = lines(rarl, split_of(rarl, question="Is there a mass? " * 4000))
    assert line.startswith("1 prompts and their completions need more than the model's 8,192 tokens")


def test_reference_completions_that_evaluation_truncates_are_named() -> None:
    recipe = load_recipe("rarl-sft", ["data.max_train_questions=40"], nano=True)
    [line] = lines(recipe, split_of(recipe, explanation="The mass is on the left. " * 200))
    assert line.startswith("1 reference completions need more than the 256 tokens of eval.max_new_tokens")


def test_without_the_tokenizer_long_rows_are_counted(rarl: Recipe) -> None:
    spec = rarl.model.model_copy(update={"name": "nobody/has-this-model"})
    assert local_tokens(spec) is None
    [line] = describe_row_lengths(rarl, split_of(rarl, answer="mass " * 400).train, [], lambda: None)
    assert line.startswith("1 long rows were not counted in tokens")
