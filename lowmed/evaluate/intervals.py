"""How sure a proportion is, and a difference."""

from collections.abc import Sequence

Interval = tuple[float, float]
DRAWS_AT_ONCE = 200  # bounds the memory of a bootstrap over many images


def wilson(right: int, n: int) -> Interval:
    """The 95 % Wilson interval of `right` out of `n` independent answers."""
    from scipy.stats import binomtest

    result = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(result.low), float(result.high)


def clustered(scores: Sequence[float], groups: Sequence[str], *, draws: int = 2000, seed: int = 0) -> Interval:
    """The 95 % percentile bootstrap interval of the mean, resampling whole groups.

    Questions about one image are not independent, so that the images are drawn, not the rows (Miller 2024,
    arXiv:2411.00640, gives the variance; the bootstrap needs no normality). For two answers to each question, give
    the differences: the interval is then a paired one.

    Args:
        scores: one a question.
        groups: the image or patient of each.
        draws: bootstrap samples.
        seed: of the draws.
    """
    import numpy as np

    _names, place = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.bincount(place, weights=np.asarray(scores, dtype=float))
    sizes = np.bincount(place)
    generator = np.random.default_rng(seed)
    means = []
    for done in range(0, draws, DRAWS_AT_ONCE):
        drawn = generator.integers(0, len(totals), size=(min(DRAWS_AT_ONCE, draws - done), len(totals)))
        means.append(totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def design_effect(scores: Sequence[float], groups: Sequence[str]) -> float:
    """How many times wider than of independent rows the variance of the mean is, by the groups; at least 1.

    The clustered variance is that of Miller 2024: C/(C-1) times the sum of squared group totals of deviations.
    """
    import numpy as np

    values = np.asarray(scores, dtype=float)
    _names, place = np.unique(np.asarray(groups), return_inverse=True)
    deviations = values - values.mean()
    totals = np.bincount(place, weights=deviations)
    naive = float((deviations**2).sum())
    if len(totals) < 2 or naive == 0:
        return 1.0
    return max(1.0, float((totals**2).sum()) * len(totals) / (len(totals) - 1) / naive)
