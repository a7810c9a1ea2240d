"""Baselines of the testbed: guesses and pixel classifiers, with and without shortcuts."""

import numpy as np
import pytest

from lowmed.recipe.dials import Dials
from lowmed.sample import Sample
from lowmed.testbed import samples as testbed
from lowmed.testbed.baselines import most_frequent, pixel_classifier


@pytest.fixture(scope="module")
def test_samples() -> list[Sample]:
    return testbed.samples("test", 500)


def test_guesses_from_topic_and_question_stay_below_half(test_samples: list[Sample]) -> None:
    train = testbed.samples("train", 1200)
    by_topic = most_frequent(train, test_samples, by_question=False).mean()
    by_question = most_frequent(train, test_samples, by_question=True).mean()
    assert by_topic < by_question < 0.5


def test_a_guess_is_counted_right_only_if_it_is_the_answer() -> None:
    train = [sample for sample in testbed.samples("train", 400) if sample.topic == "presence"]
    test = [sample for sample in testbed.samples("test", 200) if sample.topic == "presence"]
    always_yes = [sample for sample in train if sample.answer == "yes"]
    expected = np.array([sample.answer == "yes" for sample in test])
    assert (most_frequent(always_yes, test, by_question=False) == expected).all()


def test_a_pixel_classifier_follows_the_marker_and_fails_without_it(test_samples: list[Sample]) -> None:
    dials = Dials(marker=0.9)
    train, same = testbed.samples("train", 1200, dials=dials), testbed.samples("train", 1500, dials=dials)[1200:]
    with_marker, without = pixel_classifier(train, same).mean(), pixel_classifier(train, test_samples).mean()
    assert with_marker > without + 0.2
    assert without < 0.6
