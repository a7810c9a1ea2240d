"""Coverage of the intervals, with questions that share images as in VQA-RAD."""

import numpy as np
import pytest

from lowmed.evaluation.intervals import clustered, design_effect, wilson

QUESTIONS, IMAGES, TRUE = 451, 203, 0.65


def _draw(generator: np.random.Generator, spread: float) -> tuple[np.ndarray, list[str]]:
    """Answers about images whose difficulty follows a beta distribution."""
    place = np.concatenate([np.arange(IMAGES), generator.integers(0, IMAGES, QUESTIONS - IMAGES)])
    ease = generator.beta(TRUE * spread, (1 - TRUE) * spread, IMAGES)
    return (generator.random(QUESTIONS) < ease[place]).astype(float), [str(each) for each in place]


def test_the_bootstrap_over_images_covers_the_truth_where_wilson_does_not() -> None:
    generator = np.random.default_rng(7)
    repeats, held = 1500, {"by_image": 0, "wilson": 0}
    for _ in range(repeats):
        right, groups = _draw(generator, 1.0)
        low, high = clustered(right.tolist(), groups, draws=400)
        held["by_image"] += low <= TRUE <= high
        low, high = wilson(int(right.sum()), QUESTIONS)
        held["wilson"] += low <= TRUE <= high
    assert held["by_image"] / repeats == pytest.approx(0.95, abs=0.015)
    assert held["wilson"] / repeats < 0.92


def test_wilson_covers_independent_answers() -> None:
    rights = np.random.default_rng(3).binomial(QUESTIONS, TRUE, 4000)
    bounds = {int(right): wilson(int(right), QUESTIONS) for right in set(rights)}
    held = np.mean([bounds[int(right)][0] <= TRUE <= bounds[int(right)][1] for right in rights])
    assert held == pytest.approx(0.95, abs=0.015)


def test_wilson_has_the_known_half_width_at_the_size_of_vqa_rad() -> None:
    low, high = wilson(round(TRUE * QUESTIONS), QUESTIONS)
    assert (high - low) / 2 == pytest.approx(0.044, abs=0.0005)


def test_repeated_rows_of_one_image_count_once() -> None:
    once = clustered([1.0, 0.0] * 50, [str(at) for at in range(100)])
    ten_times = clustered([1.0, 0.0] * 50 * 10, [str(at) for at in range(100)] * 10)
    assert ten_times == pytest.approx(once)
    assert design_effect([1.0, 0.0] * 500, [str(at) for at in range(100)] * 10) == pytest.approx(10, rel=0.02)
    assert design_effect([1.0, 0.0] * 50, [str(at) for at in range(100)]) == pytest.approx(1, abs=0.02)
    assert design_effect([1.0, 1.0], ["a", "b"]) == 1
