"""The figures of the evaluation during training, and the choice of the best one."""

from collections.abc import Sequence
from typing import Any

import pytest

from lowmed.data.load import load
from lowmed.data.split import split_data
from lowmed.evaluation import dev
from lowmed.evaluation.metrics import prediction, scored
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe
from lowmed.rewards import for_recipe
from lowmed.sample import Sample


def lines(accuracies: Sequence[float]) -> list[dict[str, Any]]:
    return [{"step": 10 * number, "accuracy": accuracy} for number, accuracy in enumerate(accuracies)]


def recipe(*overrides: str) -> Recipe:
    return load_recipe("rl-plain", ["data.dev=0.1", *overrides], nano=True)


def test_the_best_evaluation_is_the_earliest_of_the_highest_after_a_step() -> None:
    assert dev.best_line(lines([0.9])) is None
    assert dev.best_line(lines([0.9, 0.5, 0.6, 0.6])) == {"step": 20, "accuracy": 0.6}


@pytest.mark.parametrize(
    ("accuracies", "patience", "stops"),
    [
        ([0.9, 0.5, 0.5, 0.4], 2, True),  # the model before training is no candidate
        ([0.9, 0.5, 0.4, 0.6], 2, False),
        ([0.9, 0.5], 1, False),
        ([0.1, 0.5, 0.5], 1, True),  # an equal accuracy is not a higher one
        ([0.1, 0.5, 0.5, 0.5], None, False),
        ([], 1, False),
    ],
)
def test_training_stops_after_evaluations_without_a_higher_accuracy(
    accuracies: list[float], patience: int | None, stops: bool
) -> None:
    assert dev.is_exhausted(lines(accuracies), patience) is stops


def test_accuracy_is_strict_and_counts_the_fields_of_json() -> None:
    closed = Sample("1", "Is it?", "yes", "closed", "a", "test")
    answers = ["<answer>yes</answer>", "yes", "<answer>no</answer>"]
    rows = scored(prediction(closed, "dev", text, 3, "stop") for text in answers)
    assert dev.figures(rows)["accuracy"] == pytest.approx(1 / 3)
    fields = Sample("2", "Findings?", '{"organ": "lung", "side": "left"}', "json", "b", "test")
    half = scored([prediction(fields, "dev", '<answer>{"organ": "lung", "side": "right"}</answer>', 9, "stop")])
    assert dev.figures(half)["accuracy"] == pytest.approx(0.5)


def test_questions_are_a_fixed_subset_that_does_not_depend_on_names() -> None:
    settings = recipe("dev.questions=16")
    data_split = split_data(load("phantom"), settings.data, settings.seed)
    chosen = dev.dev_questions(data_split, settings)
    assert len(chosen) == 16
    assert set(chosen) <= set(data_split.dev)
    assert chosen == dev.dev_questions(data_split, settings)
    other = recipe("dev.questions=16", "seed=1")
    assert dev.questions_digest(data_split, chosen) != dev.questions_digest(
        data_split, dev.dev_questions(data_split, other)
    )


def test_rewards_of_dev_equal_those_of_the_same_completions() -> None:
    rewards = for_recipe(load_recipe("rl-plain"))
    closed = Sample("1", "Is it?", "yes", "closed", "a", "test")
    right = "<think>The lung is clear on both sides.</think><answer>yes</answer>"
    wrong = "<think>The lung is clear on both sides.</think><answer>no</answer>"
    values = dev.mean_rewards(rewards, [(closed, right, 9), (closed, wrong, 9)])
    assert values["rewards/accuracy"] == 0.5
    assert values["reward"] == pytest.approx(
        sum(reward.weight * (reward(closed, text).value or 0.0) for reward in rewards for text in (right, wrong)) / 2
    )


@pytest.mark.parametrize(
    ("name", "need"), [("medbridge", "likelihood"), ("capo", "image_log_ratio"), ("ttrl", "group")]
)
def test_the_sum_is_left_out_if_a_reward_needs_more_than_the_completion(name: str, need: str) -> None:
    rewards = for_recipe(load_recipe(name))
    [left_out] = [reward for reward in rewards if need in reward.needs]
    closed = Sample("1", "Is it?", "yes", "closed", "a", "test")
    values = dev.mean_rewards(rewards, [(closed, "<answer>yes</answer>", 3)])
    assert "rewards/format" in values
    assert not {"reward", f"rewards/{left_out.name}"} & values.keys()


def test_the_summary_says_what_was_kept_and_whether_training_helped() -> None:
    best = "\n".join(dev.summary(lines([0.5, 0.6, 0.4]), "best"))
    assert "step 10: dev accuracy 0.600, the highest of 2 evaluations and therefore biased upwards" in best
    assert "before training 0.500" in best
    last = "\n".join(dev.summary(lines([0.5, 0.6, 0.4]), "last"))
    assert "step 20: dev accuracy 0.400; the highest was 0.600 at step 10" in last
    assert "not better than before training (0.500)" in last
    assert dev.summary(lines([0.5]), "best") == []
