"""Figures over several seeds, with values worked out by hand and those of `lowmed compare`."""

import pytest
from scipy import stats

from lowmed.evaluation.intervals import mean_interval
from lowmed.evaluation.paired_tests import paired_difference
from lowmed.evaluation.seed_means import accuracy_over_seeds, difference_over_seeds, mean_scores, seed_interval

GROUPS = [f"image-{number // 2}" for number in range(12)]


def seed(*values: int) -> dict[tuple[str, str], float]:
    return {(f"q{number}", GROUPS[number]): float(value) for number, value in enumerate(values)}


BEFORE = seed(1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0)
AFTER = seed(1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1)


def test_one_seed_gives_the_figures_of_compare() -> None:
    expected = paired_difference(list(BEFORE.values()), list(AFTER.values()), GROUPS)
    difference, *interval_and_p = difference_over_seeds([BEFORE], [AFTER])
    assert difference == pytest.approx(expected.difference)
    assert interval_and_p == [expected.by_image, expected.p_by_image]
    assert accuracy_over_seeds([AFTER])[1] == mean_interval(list(AFTER.values()), GROUPS)


def test_equal_seeds_change_neither_accuracy_nor_p() -> None:
    difference, (low, high), p = difference_over_seeds([BEFORE] * 3, [AFTER] * 3)
    one, _, p_of_one = difference_over_seeds([BEFORE], [AFTER])
    assert [difference, p] == pytest.approx([one, p_of_one])  # three seeds are not three times the data
    assert low < difference < high
    assert accuracy_over_seeds([AFTER] * 3)[0] == pytest.approx(8 / 12)
    assert accuracy_over_seeds([AFTER] * 3)[1] == pytest.approx(mean_interval(list(AFTER.values()), GROUPS))


def test_the_test_flips_the_summed_changes_of_an_image() -> None:
    # Image sums over two seeds: 2, -1, 1. Of the 8 sign combinations, |sum| >= 2 in 6: all but +-(2 - 1 - 1).
    first = [{("a", "i"): 0.0, ("b", "j"): 1.0, ("c", "k"): 0.0}] * 2
    second = [
        {("a", "i"): 1.0, ("b", "j"): 0.0, ("c", "k"): 1.0},
        {("a", "i"): 1.0, ("b", "j"): 1.0, ("c", "k"): 0.0},
    ]
    difference, _, p = difference_over_seeds(first, second)
    assert difference == pytest.approx((2 - 1 + 1) / 2 / 3)
    assert p == pytest.approx(6 / 8)


def test_a_question_of_some_seeds_counts_once_with_their_mean() -> None:
    scores = mean_scores([{("a", "i"): 1.0, ("b", "j"): 0.0}, {("b", "j"): 1.0}])
    assert scores == {("a", "i"): 1.0, ("b", "j"): 0.5}


def test_the_interval_over_seeds_is_that_of_student() -> None:
    values = [0.5, 0.6, 0.8]
    assert seed_interval(values, (0.0, 2.0)) == pytest.approx(
        stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    )
    assert seed_interval([0.5], (0.0, 1.0)) is None
    assert seed_interval([0.5, 0.5], (0.0, 1.0)) == (0.5, 0.5)
    assert seed_interval([0.5, 0.9], (0.0, 1.0)) == (0.0, 1.0)  # of an accuracy


@pytest.mark.parametrize("seeds", [1, 3])
def test_averaged_seeds_keep_a_small_p_only_for_a_difference_on_many_images(seeds: int) -> None:
    one_image = [{(f"q{number}", "i"): float(right) for number in range(50)} for right in (0, 1)]
    _, interval, p = difference_over_seeds([one_image[0]] * seeds, [one_image[1]] * seeds)
    assert p == 1.0  # 50 questions about one image are one observation
    assert interval == (-1.0, 1.0)
