"""Paired tests: whether two sets of answers to the same questions differ, and how many questions a test needs."""

import math
from collections.abc import Mapping, Sequence

from lowmed.evaluation.intervals import clustered, design_effect
from lowmed.evaluation.metrics import mean
from lowmed.evaluation.records import PairedDifference

POWER = 0.8
LEVEL = 0.05


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test on the questions that only one of two systems answers correctly."""
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


def questions_needed(difference: float, discordant: float, effect: float = 1.0) -> int | None:
    """Questions that McNemar's test needs to detect a difference with power 0.8 at p < 0.05 (Connor 1987).

    Args:
        difference: difference of the two accuracies.
        discordant: share of questions that only one system answers correctly.
        effect: design effect of questions that share images.

    Returns:
        None if the difference is 0.
    """
    from scipy.stats import norm

    if difference == 0:
        return None
    alpha, beta = norm.ppf(1 - LEVEL / 2), norm.ppf(POWER)
    spread = alpha * math.sqrt(discordant) + beta * math.sqrt(max(0.0, discordant - difference**2))
    return math.ceil(effect * (spread / difference) ** 2)


def paired_difference(first: Sequence[float], second: Sequence[float], groups: Sequence[str]) -> PairedDifference:
    """Second minus first of 0/1 scores of the same questions, with a bootstrap over images and the exact test."""
    changes = [b - a for a, b in zip(first, second, strict=True)]
    only_first, only_second = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
    difference = mean(changes)
    return PairedDifference(
        questions=len(changes),
        first=mean(first),
        second=mean(second),
        difference=difference,
        by_image=clustered(changes, groups),
        only_first=only_first,
        only_second=only_second,
        p_mcnemar=mcnemar(only_first, only_second),
        questions_needed=questions_needed(
            difference, (only_first + only_second) / len(changes), design_effect(changes, groups)
        ),
    )
