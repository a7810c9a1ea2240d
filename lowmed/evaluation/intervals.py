"""Confidence intervals of proportions and differences."""

from collections.abc import Sequence

Interval = tuple[float, float]
DRAWS_PER_BATCH = 200  # bounds the memory of a bootstrap over many images


def wilson(correct: int, n: int) -> Interval:
    """The 95 % Wilson interval of `correct` out of `n` independent answers."""
    from scipy.stats import binomtest

    result = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(result.low), float(result.high)


def clustered(scores: Sequence[float], groups: Sequence[str], *, draws: int = 2000, seed: int = 0) -> Interval:
    """The 95 % percentile bootstrap interval of the mean, resampling whole groups.

    Questions about one image are not independent, so images are resampled instead of rows (Miller 2024,
    arXiv:2411.00640, gives the variance; the bootstrap needs no normality). Given differences of paired answers, it
    returns a paired interval.

    Args:
        scores: one per question.
        groups: image or patient of each question.
        draws: bootstrap samples.
        seed: seed of the draws.
    """
    import numpy as np

    _names, group_index = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.bincount(group_index, weights=np.asarray(scores, dtype=float))
    sizes = np.bincount(group_index)
    generator = np.random.default_rng(seed)
    means = []
    for done in range(0, draws, DRAWS_PER_BATCH):
        drawn = generator.integers(0, len(totals), size=(min(DRAWS_PER_BATCH, draws - done), len(totals)))
        means.append(totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def design_effect(scores: Sequence[float], groups: Sequence[str]) -> float:
    """Variance of the mean with clustered groups, divided by that of independent rows; at least 1.

    The clustered variance is that of Miller 2024: C/(C-1) times the sum of squared group totals of deviations.
    """
    import numpy as np

    values = np.asarray(scores, dtype=float)
    _names, group_index = np.unique(np.asarray(groups), return_inverse=True)
    deviations = values - values.mean()
    totals = np.bincount(group_index, weights=deviations)
    naive = float((deviations**2).sum())
    if len(totals) < 2 or naive == 0:
        return 1.0
    return max(1.0, float((totals**2).sum()) * len(totals) / (len(totals) - 1) / naive)
