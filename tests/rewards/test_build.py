"""Rewards by name: options, mistakes, failures, and that they survive a worker process."""

import pickle
from collections.abc import Mapping

import pytest

from lowmed import rewards
from lowmed.errors import RecipeError, RunError
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
        ("zzz", {}, "there is no reward `zzz`", "use one of accuracy, format, reasoning"),
        ("accuracy", {"graed": True}, "has no option `graed`", "did you mean `graded`?"),
        ("accuracy", {"graded": "yes"}, "cannot be 'yes'", "use true or false"),
        ("accuracy", {"graded": 1}, "cannot be 1", "use true or false"),
        ("format", {"reply": "think"}, "cannot be 'think'", "use one of think_answer, answer"),
        ("format", {"reply": ["answer"]}, "cannot be ['answer']", "use one of think_answer, answer"),
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
