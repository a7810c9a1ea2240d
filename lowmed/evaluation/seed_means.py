"""Accuracies and paired differences of several trainings of one recipe, averaged over the seeds.

Two kinds of randomness are kept apart. An interval by image covers other questions on other images for the models that
were trained. An interval over seeds covers other trainings for the questions that were used.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from lowmed.evaluation.combined_intervals import measured_share, weighted_sum
from lowmed.evaluation.intervals import ALPHA, Interval, difference_interval, mean_interval
from lowmed.evaluation.paired_tests import sign_flip

Scores = Mapping[tuple[str, str], float]  # id and image or patient of a question -> its score with one seed
MAX_UNITS = 100  # of the test: with more, changes are rounded to hundredths


def mean_scores(by_seed: Sequence[Scores]) -> dict[tuple[str, str], float]:
    """The score of each question, averaged over the seeds that have it."""
    keys = dict.fromkeys(key for scores in by_seed for key in scores)
    return {key: fmean(scores[key] for scores in by_seed if key in scores) for key in keys}


def accuracy_over_seeds(by_seed: Sequence[Scores]) -> tuple[float, Interval]:
    """The mean over questions of the mean over seeds, and its interval by image (`mean_interval`)."""
    scores = mean_scores(by_seed)
    return fmean(scores.values()), mean_interval(list(scores.values()), [group for _, group in scores])


def difference_over_seeds(first: Sequence[Scores], second: Sequence[Scores]) -> tuple[float, Interval, float]:
    """Second minus first on the same questions: mean, interval by image, and p of the sign-flip test over images.

    With one seed these are the figures of `lowmed compare`. With several, the interval combines those of the two
    averaged accuracies (`weighted_sum`), since averaged changes are not only -1, 0 and 1. The test is exact: it flips
    the changes of an image summed over seeds, in units of the smallest share that an average has.

    Args:
        first: scores by seed.
        second: scores of the same questions with the same seeds, in the same order.
    """
    one, other = mean_scores(first), mean_scores(second)
    groups = [group for _, group in one]
    changes = [other[key] - one[key] for key in one]
    counts = {sum(key in scores for scores in first) for key in one}
    units = min(math.lcm(*counts), MAX_UNITS)
    steps = [round(units * change) for change in changes]
    if units == 1:
        return fmean(changes), difference_interval(steps, groups), sign_flip(steps, groups)
    measured = [measured_share(list(scores.values()), groups) for scores in (other, one)]
    _, interval = weighted_sum([part for part in measured if part], (1.0, -1.0), (-1.0, 1.0))
    return fmean(changes), interval, sign_flip(steps, groups)


def seed_interval(values: Sequence[float], bounds: Interval) -> Interval | None:
    """The 95 % t interval of the mean over seeds within `bounds`; None with one seed.

    It has no width if all seeds agree.
    """
    from scipy.stats import t

    if len(values) < 2:
        return None
    half = float(t.ppf(1 - ALPHA / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return max(bounds[0], fmean(values) - half), min(bounds[1], fmean(values) + half)
