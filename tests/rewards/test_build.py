"""Building rewards by name: options, needs, mistakes, exceptions, pickling."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from lowmed import rewards
from lowmed.engine.device import unsupported_error
from lowmed.errors import RecipeError, RunError
from lowmed.judge import ANSWER, Judge, Rubric
from lowmed.methods import RewardSpec
from lowmed.plan.formatting import note_lines
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample

SAMPLE = Sample(id="s-17", question="Where?", answer="left lung", kind="open", group="g", source="t")


def test_rewards_are_built_in_order_with_their_weights_and_options() -> None:
    built = rewards.build([("format", 0.2, {}), ("accuracy", 1.0, {"graded": True})])
    assert [(reward.name, reward.weight) for reward in built] == [("format", 0.2), ("accuracy", 1.0)]
    assert built[1](SAMPLE, "<answer>lung</answer>").value == pytest.approx(2 / 3)


def test_the_completion_format_of_the_prompts_is_passed_to_the_rewards() -> None:
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
        ("extraction", {"alpha": 1.5}, "alpha is above 0 and below 1", "correct the option"),
        ("clinical", {"judge": "me"}, "has no option `judge`", "use one of completion_format"),
        ("format", {"completion_format": ["answer"]}, "cannot be ['answer']", "use one of think_answer, answer"),
    ],
)
def test_a_mistake_in_a_recipe_raises_an_error_with_its_fix(
    name: str, options: Mapping[str, object], what: str, fix: str
) -> None:
    with pytest.raises(RecipeError) as raised:
        rewards.build([(name, 1.0, options)])
    assert what in raised.value.what
    assert raised.value.fix == fix


def test_an_exception_in_a_reward_names_the_sample_and_is_never_a_score() -> None:
    def broken(sample: Sample, completion: str) -> rewards.Score:
        return rewards.Score(1 / len(completion), sample.id)

    with pytest.raises(RunError) as raised:
        rewards.Weighted("broken", 1.0, broken)(SAMPLE, "")
    assert "s-17" in str(raised.value)
    assert "ZeroDivisionError" in raised.value.what


def test_built_rewards_can_be_pickled() -> None:
    built = rewards.build([("accuracy", 1.0, {"graded": True}), ("format", 0.2, {}), ("reasoning", 0.5, {})])
    assert pickle.loads(pickle.dumps(built)) == built  # noqa: S301  written in this very line


def test_a_reward_that_needs_a_judge_is_not_built_without_one() -> None:
    with pytest.raises(RecipeError, match="`clinical` needs a judge") as raised:
        rewards.build([("clinical", 1.0, {})])
    assert "judge.calibration" in raised.value.fix


def test_naming_a_reward_twice_is_a_mistake() -> None:
    with pytest.raises(RecipeError, match="`format` is named twice"):
        rewards.build([("format", 1.0, {}), ("accuracy", 1.0, {}), ("format", 0.5, {})])


def test_a_whole_number_is_valid_for_a_number_option() -> None:
    assert rewards.build([("repetition", 1.0, {"allowed": 0})])[0](SAMPLE, "left lung").value == 1.0


def test_the_settings_of_a_recipe_are_passed_to_its_rewards() -> None:
    rules = "method.rewards=[{name: overlong, cache: 8}, {name: format, gate: true}]"
    recipe = load_recipe("rarl", [rules, "method.max_completion_length=16", "prompts.train=direct"], nano=True)
    overlong, form = rewards.for_recipe(recipe)
    assert overlong.of_group(SAMPLE, [rewards.Rollout("", 12)])[0].value == 0.5
    assert form.gate
    assert form(SAMPLE, "<answer>left lung</answer>").value == 1.0
    assert rewards.for_recipe(load_recipe("rarl-sft", [], nano=True)) == []


def test_a_failed_gate_sets_all_values_to_zero_and_keeps_abstentions() -> None:
    gated = rewards.build([RewardSpec(name="accuracy", weight=2.0), RewardSpec(name="format", gate=True)])
    right, abstained, low = (rewards.Score(value, "") for value in (1.0, None, 0.9))
    assert rewards.values_after_gates(gated, {"accuracy": right, "format": right}) == {"accuracy": 1.0, "format": 1.0}
    assert rewards.values_after_gates(gated, {"accuracy": right, "format": low}) == {"accuracy": 0.0, "format": 0.0}
    assert rewards.values_after_gates(gated, {"accuracy": abstained, "format": low}) == {
        "accuracy": None,
        "format": 0.0,
    }
    assert rewards.values_after_gates(gated, {"accuracy": right, "format": abstained}) == {
        "accuracy": 1.0,
        "format": None,
    }
    assert rewards.total(gated, {"accuracy": right, "format": abstained}) == 2.0
    assert rewards.total(gated, {"accuracy": right, "format": low}) == 0.0


def test_no_custom_reward_is_executed_if_another_reward_has_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("raise SystemExit('executed')")
    with pytest.raises(RecipeError, match="no option `graed`"):
        rewards.build([(f"{file}:side", 1.0, {}), ("accuracy", 1.0, {"graed": True})])


def test_a_custom_reward_has_no_options() -> None:
    with pytest.raises(RecipeError, match=r"`mine\.py:side` has no option `strength`") as raised:
        rewards.build([("mine.py:side", 0.5, {"strength": 2})])
    assert raised.value.fix == "leave it out: `mine.py:side` has no options"


def test_the_limit_of_an_option_may_depend_on_the_length_of_completions() -> None:
    specs: list[tuple[str, float, dict[str, object]]] = [("overlong", 0.1, {"cache": 300})]
    with pytest.raises(RecipeError, match="here 256"):
        rewards.build(specs, max_new_tokens=256)
    assert len(rewards.build(specs, max_new_tokens=512)) == 1


@pytest.mark.parametrize(
    ("name", "options", "needed"),
    [
        ("accuracy", {}, set()),
        ("judge", {}, {"judge"}),
        ("clinical", {}, {"judge"}),
        ("consistency", {}, {"likelihood"}),
        ("image_dependence", {}, {"image_log_ratio"}),
        ("majority", {}, {"group"}),
        ("semantic", {}, {"embedding"}),
        ("reasoning", {}, set()),
        ("reasoning", {"by": "embedding"}, {"embedding"}),
        ("mine.py:side", {}, set()),
        ("acuracy", {}, set()),
    ],
)
def test_needs_follow_from_the_reward_and_its_options(name: str, options: dict[str, str], needed: set[str]) -> None:
    assert rewards.needs_of(RewardSpec(name=name, **options)) == needed


@pytest.mark.parametrize("name", rewards.REWARDS)
def test_a_reward_that_needs_a_judge_has_a_rubric_and_takes_the_judge(name: str) -> None:
    reward = rewards.REWARDS[name]
    has_judge = "judge" in rewards.needs_of(RewardSpec(name=name))
    assert has_judge == hasattr(reward, "rubric") == ("judge" in getattr(reward, "__dataclass_fields__", {}))


def test_the_needs_of_a_recipe_are_those_of_all_its_rewards() -> None:
    chosen = "method.rewards=[{name: accuracy}, {name: consistency}, {name: reasoning, by: embedding}, {name: judge}]"
    assert rewards.needs(load_recipe("rarl", [chosen], nano=True)) == {"likelihood", "embedding", "judge"}
    assert rewards.needs(load_recipe("rarl-sft", [], nano=True)) == frozenset()
    [built] = rewards.build([("consistency", 1.0, {})])
    assert built.needs == {"likelihood"}


@dataclass(frozen=True)
class Tone:
    """1 for a completion whose tone the judge accepts."""

    judge: Judge
    needs: ClassVar[frozenset[rewards.Need]] = frozenset({"judge"})
    rubric: ClassVar[Rubric] = ANSWER

    def __call__(self, sample: Sample, completion: str) -> rewards.Score:
        return rewards.Score(1.0, "accepted")


@dataclass(frozen=True)
class Confidence:
    """The likelihood of the answer."""

    decay: float = 0.9
    every: int = 1
    needs: ClassVar[frozenset[rewards.Need]] = frozenset({"likelihood"})

    def __call__(self, sample: Sample, completion: str) -> rewards.Score:
        return rewards.Score(None, "abstained")


def test_a_new_reward_states_its_needs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rewards.REWARDS, "tone", Tone)
    monkeypatch.setitem(rewards.REWARDS, "confidence", Confidence)
    judged = load_recipe("rarl", ["method.rewards=[{name: accuracy}, {name: tone}]"], nano=True)
    with pytest.raises(RecipeError, match="`tone`"):
        rewards.for_recipe(judged)
    assert any("judge" in line for line in note_lines(judged))
    likely = ["method.rewards=[{name: accuracy}, {name: confidence}]", "model.backend=unsloth"]
    error = unsupported_error(load_recipe("rarl", likely, nano=True))
    assert error is not None
    assert "`confidence`" in error.what
