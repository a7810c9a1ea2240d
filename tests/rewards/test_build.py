"""Rewards by name: options, mistakes, failures, and that they survive a worker process."""

import pickle
from collections.abc import Mapping

import pytest

from lowmed import rewards
from lowmed.errors import RecipeError, RunError
from lowmed.recipe import RewardSpec
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample

SAMPLE = Sample(id="s-17", question="Where?", answer="left lung", kind="open", group="g", source="t")


def test_rewards_are_built_in_order_with_their_weights_and_options() -> None:
    built = rewards.build([("format", 0.2, {}), ("accuracy", 1.0, {"graded": True})])
    assert [(reward.name, reward.weight) for reward in built] == [("format", 0.2), ("accuracy", 1.0)]
    assert built[1](SAMPLE, "<answer>lung</answer>").value == pytest.approx(2 / 3)


def test_the_reply_form_of_the_prompts_reaches_the_rewards_that_need_it() -> None:
    bare = "<answer>left lung</answer>"
    assert [reward(SAMPLE, bare).value for reward in rewards.build([("format", 1.0, {})], "answer")] == [1.0]
    assert [reward(SAMPLE, bare).value for reward in rewards.build([("format", 1.0, {})])] == [0.0]


@pytest.mark.parametrize(
    ("name", "options", "what", "fix"),
    [
        ("acuracy", {}, "there is no reward `acuracy`", "did you mean `accuracy`?"),
        ("zzz", {}, "there is no reward `zzz`", f"use one of {', '.join(rewards.REWARDS)}"),
        ("accuracy", {"graed": True}, "has no option `graed`", "did you mean `graded`?"),
        ("accuracy", {"graded": "yes"}, "cannot be 'yes'", "use true or false"),
        ("accuracy", {"graded": 1}, "cannot be 1", "use true or false"),
        ("format", {"completion_format": "think"}, "cannot be 'think'", "use one of think_answer, answer"),
        ("chain", {"target_words": "many"}, "cannot be 'many'", "use a whole number"),
        ("chain", {"target_words": True}, "cannot be True", "use a whole number"),
        ("chain", {"target_words": 9.5}, "cannot be 9.5", "use a whole number"),
        ("chain", {"target_words": 0}, "cannot be set up: target_words is at least 1", "correct the option"),
        ("extraction", {"alpha": "half"}, "cannot be 'half'", "use a number"),
        ("extraction", {"alpha": float("nan")}, "cannot be nan", "use a number"),
        ("extraction", {"alpha": 1.5}, "alpha is from 0 to 1", "correct the option"),
        ("clinical", {"judge": "me"}, "has no option `judge`", "use one of completion_format"),
        ("format", {"completion_format": ["answer"]}, "cannot be ['answer']", "use one of think_answer, answer"),
    ],
)
def test_mistakes_in_a_recipe_are_told(name: str, options: Mapping[str, object], what: str, fix: str) -> None:
    with pytest.raises(RecipeError) as raised:
        rewards.build([(name, 1.0, options)])
    assert what in raised.value.what
    assert raised.value.fix == fix


def test_a_reward_that_fails_names_the_sample_and_is_never_zero() -> None:
    def broken(sample: Sample, completion: str) -> rewards.Score:
        return rewards.Score(1 / len(completion), sample.id)

    with pytest.raises(RunError) as raised:
        rewards.Weighted("broken", 1.0, broken)(SAMPLE, "")
    assert "s-17" in str(raised.value)
    assert "ZeroDivisionError" in raised.value.what


def test_built_rewards_can_be_sent_to_a_worker_process() -> None:
    built = rewards.build([("accuracy", 1.0, {"graded": True}), ("format", 0.2, {}), ("reasoning", 0.5, {})])
    assert pickle.loads(pickle.dumps(built)) == built  # noqa: S301  written in this very line


def test_a_reward_that_asks_a_judge_needs_one() -> None:
    with pytest.raises(RecipeError, match="`clinical` asks a judge") as raised:
        rewards.build([("clinical", 1.0, {})])
    assert "judge.calibration" in raised.value.fix


def test_a_reward_named_twice_is_a_mistake() -> None:
    with pytest.raises(RecipeError, match="`format` is named twice"):
        rewards.build([("format", 1.0, {}), ("accuracy", 1.0, {}), ("format", 0.5, {})])


def test_whole_numbers_are_numbers() -> None:
    assert rewards.build([("extraction", 1.0, {"alpha": 1})])[0](SAMPLE, "").value is None


def test_the_rewards_of_a_recipe_take_all_they_need_from_it() -> None:
    rules = "method.rewards=[{name: overlong, cache: 8}, {name: format, gate: true}]"
    recipe = load_recipe("rarl", [rules, "method.max_completion_length=16", "prompts.train=direct"], nano=True)
    overlong, form = rewards.for_recipe(recipe)
    assert overlong.of_group(SAMPLE, [rewards.Rollout("", 12)])[0].value == 0.5
    assert form.gate
    assert form(SAMPLE, "<answer>left lung</answer>").value == 1.0
    assert rewards.for_recipe(load_recipe("rarl-sft", [], nano=True)) == []


def test_a_closed_gate_takes_all_that_was_earned_and_leaves_silence() -> None:
    gated = rewards.build([RewardSpec(name="accuracy", weight=2.0), RewardSpec(name="format", gate=True)])
    right, silent, low = (rewards.Score(value, "") for value in (1.0, None, 0.9))
    assert rewards.paid(gated, {"accuracy": right, "format": right}) == {"accuracy": 1.0, "format": 1.0}
    assert rewards.paid(gated, {"accuracy": right, "format": low}) == {"accuracy": 0.0, "format": 0.0}
    assert rewards.paid(gated, {"accuracy": silent, "format": low}) == {"accuracy": None, "format": 0.0}
    assert rewards.paid(gated, {"accuracy": right, "format": silent}) == {"accuracy": 1.0, "format": None}
    assert rewards.total(gated, {"accuracy": right, "format": silent}) == 2.0
    assert rewards.total(gated, {"accuracy": right, "format": low}) == 0.0
