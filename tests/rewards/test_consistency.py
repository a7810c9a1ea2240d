"""The consistency reward with given likelihoods: which completions are compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.rewards import Rollout
from lowmed.rewards.consistency import Consistency
from lowmed.sample import Sample

SAMPLE = Sample("s", "Is it?", "yes", "closed", "g", "t")
RIGHT, WRONG = "<think>a</think><answer>yes</answer>", "<think>a</think><answer>no</answer>"


def values(*rollouts: tuple[str, float | None]) -> list[float | None]:
    group = [Rollout(text, 9, likelihood) for text, likelihood in rollouts]
    return [score.value for score in Consistency().of_group(SAMPLE, group)]


def test_right_completions_are_compared_with_the_mean_of_the_right_ones() -> None:
    assert values((RIGHT, 0.9), (RIGHT, 0.5), (RIGHT, 0.7), (WRONG, 1.0)) == [1.0, 0.0, 1.0, 0.0]


def test_the_only_right_completion_is_paid_and_a_group_without_one_earns_nothing() -> None:
    assert values((RIGHT, 0.1), (WRONG, None)) == [1.0, 0.0]
    assert values((WRONG, None), (WRONG, None)) == [0.0, 0.0]


def test_a_likelihood_above_the_upper_bound_does_not_raise_the_threshold() -> None:
    assert values((RIGHT, 1.0), (RIGHT, 0.945)) == [1.0, 1.0]  # 0.95 and 0.945, and a margin of 0.01
    assert values((RIGHT, 0.95), (RIGHT, 0.90)) == [1.0, 0.0]


def test_without_a_likelihood_it_abstains_on_right_completions_and_pays_wrong_ones_nothing() -> None:
    assert Consistency()(SAMPLE, RIGHT).value is None
    assert Consistency()(SAMPLE, WRONG).value == 0.0
    assert values((RIGHT, None), (RIGHT, 0.5)) == [None, 1.0]


@pytest.mark.parametrize(
    "options", [{"decay": 1.0}, {"every": 0}, {"upper_bound": 0.0}, {"upper_bound": 1.5}, {"margin": -0.1}]
)
def test_options_out_of_range_are_rejected(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="upper_bound is in"):
        Consistency(**options)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from([RIGHT, WRONG]), st.floats(0, 1)), min_size=1, max_size=8))
def test_some_right_completion_is_always_paid_and_a_wrong_one_never(group: list[tuple[str, float]]) -> None:
    paid = values(*group)
    assert all(value == 0.0 for value, (text, _) in zip(paid, group, strict=True) if text == WRONG)
    assert (1.0 in paid) == any(text == RIGHT for text, _ in group)
