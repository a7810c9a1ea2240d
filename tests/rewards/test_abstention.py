"""A reward that abstains on most training questions is an error, unless the recipe allows it by name."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from lowmed import prompt
from lowmed.api.preconditions import require_applicable_rewards
from lowmed.errors import RecipeError
from lowmed.nano import phantom
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe
from lowmed.rewards import Score, Weighted, build
from lowmed.rewards.abstention import MAX_QUESTIONS, Abstention, abstentions, gold_subset
from lowmed.sample import Sample

FAMILY = prompt.family("reasoning")
SAMPLES = phantom.samples("train", 40)
BARE = [replace(sample, explanation="", modality="") for sample in SAMPLES]
JSON = Sample("j", 'Fill in "side".', '{"side": "left"}', "json", "g", "test")


def count(name: str, samples: Iterable[Sample], **options: object) -> Abstention:
    [result] = abstentions(build([(name, 1.0, options)]), list(samples), FAMILY)
    return result


@pytest.mark.parametrize(("bare", "on_most"), [(0, False), (19, False), (20, False), (21, True), (40, True)])
def test_more_than_half_of_the_questions_is_most(bare: int, on_most: bool) -> None:
    result = count("reasoning", [*BARE[:bare], *SAMPLES[bare:]])
    assert (result.questions, result.abstained, result.on_most) == (40, bare, on_most)
    assert result.why == ("the sample has no explanation" if bare else "")


@pytest.mark.parametrize("explanation", [" ", "\n", "-", "..."])
def test_an_explanation_without_words_is_none(explanation: str) -> None:
    assert count("reasoning", [replace(sample, explanation=explanation) for sample in SAMPLES]).abstained == 40


@pytest.mark.parametrize("name", ["accuracy", "format", "answer_follows", "modality", "repetition", "consistency"])
def test_rewards_that_apply_to_every_question_do_not_abstain(name: str) -> None:
    assert count(name, SAMPLES).abstained == 0
    if name != "modality":
        assert count(name, BARE).abstained == 0


def test_a_reward_for_some_kinds_is_counted_on_those_kinds() -> None:
    mixed = count("extraction", [*SAMPLES, JSON])
    assert (mixed.questions, mixed.abstained, mixed.on_most) == (1, 0, False)
    none = count("extraction", SAMPLES)
    assert none.on_most
    assert "every training question: the question requests no JSON" in str(none)
    assert count("answer_follows", [*SAMPLES[:3], *[JSON] * 30]).questions == 3


def test_no_judge_is_called() -> None:
    judge = object()  # a call of any method would raise an exception
    for name in ("judge", "clinical"):
        [result] = abstentions(build([(name, 1.0, {})], judge=judge), SAMPLES, FAMILY)
        assert result.abstained == 0
    [result] = abstentions(build([("clinical", 1.0, {})], "answer", judge=judge), SAMPLES, prompt.family("direct"))
    assert result.on_most


def test_prompts_without_reasoning_turn_reasoning_rewards_off() -> None:
    direct = prompt.family("direct")
    for name in ("reasoning", "chain"):
        [result] = abstentions(build([(name, 1.0, {})], "answer"), SAMPLES, direct)
        assert result.on_most
        assert result.why == "the prompt requests no reasoning"


def test_of_many_questions_a_fixed_subset_is_counted() -> None:
    many = list(SAMPLES) * 200
    assert gold_subset(SAMPLES) is SAMPLES
    chosen = gold_subset(many)
    assert len(chosen) == MAX_QUESTIONS
    assert chosen == gold_subset(many)
    result = count("reasoning", [replace(sample, explanation="") for sample in many])
    assert (result.questions, result.drawn) == (MAX_QUESTIONS, True)
    assert "2,000 of 2,000 training questions (drawn at random)" in str(result)


def recipe(*overrides: str) -> Recipe:
    return load_recipe("rarl", overrides, nano=True)


def required(
    recipe: Recipe, samples: Iterable[Sample], reward: Callable[..., Score] | None = None
) -> tuple[Abstention, ...]:
    rewards = build(recipe.method.reward_specs) if reward is None else [Weighted("mine", 1.0, reward)]
    return require_applicable_rewards(recipe, rewards, list(samples))


def test_the_error_names_reward_counts_and_fixes() -> None:
    with pytest.raises(RecipeError) as caught:
        required(recipe(), BARE)
    assert caught.value.what == (
        "the reward `reasoning` abstains on 40 of 40 training questions: the sample has no explanation"
    )
    assert "--recipe rl-plain" in caught.value.fix
    assert "explanations" in caught.value.fix
    assert "judge" in caught.value.fix
    assert "method.allow_abstaining=[reasoning]" in caught.value.fix
    assert required(recipe(), SAMPLES) == ()


def test_the_recipe_named_in_the_fix_trains_on_the_same_questions() -> None:
    assert required(load_recipe("rl-plain", nano=True), BARE) == ()


def test_a_reward_is_allowed_by_its_name_alone() -> None:
    [allowed] = required(recipe("method.allow_abstaining=[reasoning]"), BARE)
    assert allowed.reward == "reasoning"
    with pytest.raises(RecipeError, match="`reasoning` abstains"):
        required(recipe("method.allow_abstaining=[accuracy]"), BARE)
    with pytest.raises(RecipeError, match="allow_abstaining names `raesoning`"):
        recipe("method.allow_abstaining=[raesoning]")


def test_several_rewards_are_named_together() -> None:
    rewards = "method.rewards=[{name: accuracy}, {name: reasoning}, {name: extraction}]"
    with pytest.raises(RecipeError, match=r"`reasoning` abstains.*`extraction` abstains") as caught:
        required(recipe(rewards), BARE)
    assert "leave `reasoning`, `extraction` out" in caught.value.fix
    assert "[reasoning, extraction]" in caught.value.fix


def test_a_custom_reward_that_always_abstains_is_refused() -> None:
    with pytest.raises(RecipeError, match="`mine` abstains on 40 of 40 training questions: not today"):
        required(recipe(), SAMPLES, lambda sample, completion: Score(None, "not today"))
