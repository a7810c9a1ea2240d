"""Intervals: known values, no width of zero, and the design effect; a slow test repeats a part of the simulation."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import binomtest

from lowmed.evaluation.intervals import (
    design_effect,
    difference_interval,
    effective_images,
    effective_size,
    mean_interval,
    wilson,
)

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
QUESTIONS, TRUE = 451, 0.65


def _alone(number: int) -> list[str]:
    return [str(at) for at in range(number)]


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    sys.modules.pop("intervals", None)
    import intervals

    return intervals


def test_wilson_covers_independent_answers() -> None:
    rights = np.random.default_rng(3).binomial(QUESTIONS, TRUE, 4000)
    bounds = {int(right): wilson(int(right), QUESTIONS) for right in set(rights)}
    held = np.mean([bounds[int(right)][0] <= TRUE <= bounds[int(right)][1] for right in rights])
    assert held == pytest.approx(0.95, abs=0.015)


def test_wilson_has_the_known_half_width_at_the_size_of_vqa_rad() -> None:
    low, high = wilson(round(TRUE * QUESTIONS), QUESTIONS)
    assert (high - low) / 2 == pytest.approx(0.044, abs=0.0005)


@pytest.mark.parametrize(("correct", "n"), [(0, 20), (1, 20), (13, 20), (20, 20), (293, 451)])
def test_with_one_question_per_image_the_interval_is_clopper_pearsons(correct: int, n: int) -> None:
    exact = binomtest(correct, n).proportion_ci(method="exact")
    scores = [1.0] * correct + [0.0] * (n - correct)
    assert mean_interval(scores, _alone(n)) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_equal_answers_have_an_interval_as_wide_as_their_images_allow(score: float) -> None:
    images = [str(at // 3) for at in range(60)]
    exact = binomtest(int(20 * score), 20).proportion_ci(method="exact")
    assert mean_interval([score] * 60, images) == pytest.approx((exact.low, exact.high))


def test_one_image_says_nothing_about_other_images() -> None:
    assert mean_interval([1.0] * 50, ["a"] * 50) == (0, 1)
    assert difference_interval([1] * 50, ["a"] * 50) == (-1, 1)


def test_no_difference_has_an_interval_that_shrinks_with_the_images() -> None:
    wide, narrow = (difference_interval([0] * n, _alone(n)) for n in (20, 2000))
    assert wide[0] == -wide[1]
    assert 0 < narrow[1] < 0.002 < 0.1 < wide[1] < 0.2


@pytest.mark.parametrize("changes", [[1] * 40, [1] * 25 + [0] * 15, [-1] * 3 + [1] * 30 + [0] * 7, [-1] * 40])
def test_the_interval_of_a_difference_contains_it_and_mirrors(changes: list[int]) -> None:
    low, high = difference_interval(changes, _alone(40))
    assert -1 <= low <= sum(changes) / 40 <= high <= 1
    assert difference_interval([-change for change in changes], _alone(40)) == pytest.approx((-high, -low))


def test_repeated_rows_of_one_image_count_once() -> None:
    once = mean_interval([1.0, 0.0] * 50, _alone(100))
    ten_times = mean_interval([1.0, 0.0] * 500, _alone(100) * 10)
    assert ten_times == pytest.approx(once, abs=0.003)
    assert design_effect([1.0, 0.0] * 500, _alone(100) * 10) == pytest.approx(10, rel=0.02)
    assert design_effect([1.0, 0.0] * 50, _alone(100)) == 1
    assert design_effect([1.0, 1.0], ["a", "b"]) == 1
    assert effective_size([1.0] * 30, ["a", "b", "c"] * 10) == 3


def test_wrong_answers_in_small_groups_do_not_hide_the_dependence() -> None:
    """Answers that agree within each image: one wrong image of one question, 19 right ones of ten questions."""
    scores, images = [0.0] + [1.0] * 190, ["0"] + [str(1 + at // 10) for at in range(190)]
    assert design_effect(scores, images) == pytest.approx(191 * (1 + 19 * 100) / 191**2, rel=0.1)


def test_one_patient_with_most_questions_leaves_a_wide_interval() -> None:
    images = ["0"] * 100 + _alone(20)[1:]
    scores = [1.0, 0.0, 1.0, 1.0] * 29 + [1.0, 1.0, 0.0]
    assert effective_images(images) == pytest.approx(119**2 / (100**2 + 19))
    low, high = mean_interval(scores, images)
    assert high - low > 0.9
    low, high = difference_interval([1, 0, 0, -1] * 29 + [1, 1, 0], images)
    assert high - low > 1.5
    assert difference_interval([0] * 119, images) == pytest.approx(difference_interval([0] * 20, _alone(20)))


def test_token_f1_varies_less_than_a_share_with_the_same_mean() -> None:
    scores = [0.4, 0.5, 0.6, 0.5] * 10
    low, high = mean_interval(scores, _alone(40))
    assert low < 0.5 < high
    assert high - low < 0.1 < mean_interval([0.0, 1.0] * 20, _alone(40))[1] - 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "share", "layout", "correlation"),
    [(20, 0.97, "1-3", 0.3), (67, 0.95, "1-12", 0.7), (203, 0.8, "1-3", 0.7)],
)
def test_accuracies_are_covered_in_the_hardest_cells(
    simulation: ModuleType, images: int, share: float, layout: str, correlation: float
) -> None:
    cell = simulation.cover_accuracy(images, share, layout, correlation, repeats=1500, seed=11)
    assert cell["by_image"] >= 0.93
    assert cell["wilson"] < cell["by_image"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "first", "second", "layout", "correlation"),
    [(20, 0.5, 0.6, "1-3", 0.3), (67, 0.8, 0.8, "1-12", 0.7), (203, 0.97, 0.97, "1-3", 0.7)],
)
def test_differences_are_covered_and_the_test_over_images_keeps_its_level(
    simulation: ModuleType, images: int, first: float, second: float, layout: str, correlation: float
) -> None:
    cell = simulation.cover_difference(images, first, second, layout, correlation, repeats=1500, seed=11)
    assert cell["by_image"] >= 0.93
    if first == second:
        assert cell["sign_flip"] <= 0.065
