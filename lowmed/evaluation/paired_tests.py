"""Paired tests: whether two sets of answers to the same questions differ, and how many questions a test needs."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lowmed.evaluation.intervals import design_effect, difference_interval, mean_interval, too_few
from lowmed.evaluation.metrics import mean
from lowmed.evaluation.records import PairedDifference

POWER = 0.8
LEVEL = 0.05
MIN_DISCORDANT = 10  # with fewer discordant questions their share is too uncertain for a sample size


def sign_flip(changes: Sequence[int], groups: Sequence[str]) -> float:
    """The exact two-sided p of the sign-flip permutation test over images.

    If the two systems do not differ, the sum of the changes of an image is as likely as its negative. The distribution
    of the total over all sign combinations is computed by convolution, without draws. With one question per image it
    is McNemar's exact test.

    Args:
        changes: -1, 0 or 1 for each question.
        groups: image or patient of each question.
    """
    import numpy as np

    totals: dict[str, int] = defaultdict(int)
    for change, group in zip(changes, groups, strict=True):
        totals[group] += change
    steps = sorted(abs(total) for total in totals.values() if total)
    reach = sum(steps)
    observed = abs(sum(totals.values()))
    if observed == 0:
        return 1.0
    probability = np.zeros(2 * reach + 1)
    probability[reach] = 1.0
    spread = 0
    for step in steps:
        low, high = reach - spread, reach + spread + 1
        half = probability[low:high] / 2
        probability[low:high] = 0
        probability[low - step : high - step] += half
        probability[low + step : high + step] += half
        spread += step
    return min(1.0, 2 * float(probability[reach + observed :].sum()))


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test on the questions that only one of two systems answers correctly.

    It takes the questions as independent. On questions that share images it is too small.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P values corrected for multiple tests (Holm 1979), in the given order."""
    corrected, highest = {}, 0.0
    ranked = sorted(p_values, key=lambda name: p_values[name])
    for done, name in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - done) * p_values[name]))
        corrected[name] = highest
    return {name: corrected[name] for name in p_values}


def sample_size(difference: float, discordant: float, effect: float = 1.0) -> int:
    """Questions that a paired test needs to detect a difference with power 0.8 at p < 0.05.

    The formula of Connor 1987 with the continuity correction 1 / |difference|, times the design effect.

    Args:
        difference: difference of the two accuracies, not 0.
        discordant: share of questions that only one system answers correctly.
        effect: design effect of questions that share images.
    """
    from scipy.stats import norm

    alpha, beta = norm.ppf(1 - LEVEL / 2), norm.ppf(POWER)
    spread = alpha * math.sqrt(discordant) + beta * math.sqrt(max(0.0, discordant - difference**2))
    return math.ceil(effect * ((spread / difference) ** 2 + 1 / abs(difference)))


def questions_needed(changes: Sequence[int], groups: Sequence[str]) -> int | None:
    """Questions needed to detect a difference of the measured size, if the measured data suffice to estimate it.

    It assumes the upper limit of the interval of the discordant share, and images that are shared as in these data.

    Returns:
        None with under 30 questions, 10 images or 10 discordant questions, or without a difference.
    """
    discordant = [float(change != 0) for change in changes]
    enough = not too_few(groups) and sum(discordant) >= MIN_DISCORDANT
    if not enough or sum(changes) == 0:
        return None
    upper = mean_interval(discordant, groups)[1]
    return sample_size(mean(changes), upper, design_effect(changes, groups))


def paired_difference(first: Iterable[float], second: Iterable[float], groups: Sequence[str]) -> PairedDifference:
    """Second minus first of 0/1 scores of the same questions, with an interval and a test over images."""
    before, after = list(first), list(second)
    changes = [round(b - a) for a, b in zip(before, after, strict=True)]
    only_first, only_second = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
    return PairedDifference(
        questions=len(changes),
        images=len(set(groups)),
        first=mean(before),
        second=mean(after),
        difference=mean(changes),
        by_image=difference_interval(changes, groups),
        only_first=only_first,
        only_second=only_second,
        p_by_image=sign_flip(changes, groups),
        p_mcnemar=mcnemar(only_first, only_second),
        questions_needed=questions_needed(changes, groups),
    )
