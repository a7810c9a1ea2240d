"""SFT on reasoning trains on explained questions only, and never on a sentence without content."""

from dataclasses import replace

import pytest

from lowmed import prompt
from lowmed.data import for_recipe
from lowmed.data.explanations import keep_trainable
from lowmed.errors import RecipeError
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample

SAMPLES = phantom.samples("train", 10)


def without_explanation(count: int) -> list[Sample]:
    return [replace(sample, explanation="") if number < count else sample for number, sample in enumerate(SAMPLES)]


@pytest.mark.parametrize("bare", [0, 1, 5])
def test_a_minority_without_an_explanation_is_left_out(bare: int) -> None:
    kept = keep_trainable(without_explanation(bare), load_recipe("rarl-sft", nano=True))
    assert kept == tuple(SAMPLES[bare:])


def test_most_without_an_explanation_is_an_error_unless_allowed() -> None:
    with pytest.raises(RecipeError, match="6 of 10 training questions have no explanation") as caught:
        keep_trainable(without_explanation(6), load_recipe("rarl-sft", nano=True))
    assert "prompts.train=direct" in caught.value.fix
    assert "train on the other 4: data.allow_missing_explanations=true" in caught.value.fix
    allowed = load_recipe("rarl-sft", ["data.allow_missing_explanations=true"], nano=True)
    assert keep_trainable(without_explanation(6), allowed) == tuple(SAMPLES[6:])
    with pytest.raises(RecipeError, match="10 of 10") as caught:
        keep_trainable(without_explanation(10), allowed)
    assert "allow_missing_explanations" not in caught.value.fix


@pytest.mark.parametrize("overrides", [["prompts.train=direct"], ["prompts.train=med-r1-nothink"]])
def test_prompts_for_the_answer_alone_need_no_explanation(overrides: list[str]) -> None:
    samples = without_explanation(10)
    assert keep_trainable(samples, load_recipe("rarl-sft", overrides, nano=True)) == tuple(samples)


def test_grpo_trains_on_questions_without_an_explanation() -> None:
    samples = without_explanation(10)
    assert keep_trainable(samples, load_recipe("rl-plain", nano=True)) == tuple(samples)


@pytest.mark.parametrize("family", prompt.FAMILIES.values(), ids=str)
def test_the_training_completion_never_restates_the_answer_as_reasoning(family: prompt.Family) -> None:
    for sample in without_explanation(5):
        completion = prompt.training_completion(family, sample)
        if sample.explanation or family.completion_format == "answer":
            assert completion == prompt.reference_completion(family, sample)
        else:
            assert completion is None


@pytest.mark.parametrize(
    "text", [" ", "-", "...", "<think></think>", "N/A", "nan", "None.", "\u2192", "</think><answer>"]
)
def test_an_explanation_without_words_is_none(text: str) -> None:
    assert prompt.training_completion(prompt.family("reasoning"), replace(SAMPLES[0], explanation=text)) is None


@pytest.mark.parametrize("text", ["\u80ba\u90e8\u6e05\u6670", "\u0644\u0627 \u064a\u0648\u062c\u062f", "None is seen."])
def test_a_short_explanation_in_any_script_is_one(text: str) -> None:
    completion = prompt.training_completion(prompt.family("reasoning"), replace(SAMPLES[0], explanation=text))
    assert completion is not None
    assert f"<think>{text}</think>" in completion


def test_a_finished_run_is_evaluated_with_the_answers_of_all_training_questions() -> None:
    recipe = load_recipe("rarl-sft", ["data.max_train_questions=20"], nano=True)
    assert for_recipe(recipe, filtered=False).unexplained == ()
    assert for_recipe(recipe).unexplained_lines == ()


def test_grpo_with_references_needs_some_and_trains_on_all_questions() -> None:
    mixed = ["method.mix.kind=luffy"]
    recipe = load_recipe("rl-plain", mixed, nano=True)
    assert keep_trainable(without_explanation(5), recipe) == tuple(without_explanation(5))
    with pytest.raises(RecipeError, match="10 of 10 training questions have no explanation") as caught:
        keep_trainable(without_explanation(10), recipe)
    assert caught.value.fix.startswith("leave method.mix out")
    allowed = load_recipe("rl-plain", [*mixed, "data.allow_missing_explanations=true"], nano=True)
    assert keep_trainable(without_explanation(9), allowed) == tuple(without_explanation(9))
