"""How sure a proportion is."""

from collections.abc import Sequence

Interval = tuple[float, float]


def wilson(right: int, n: int) -> Interval:
    """The 95 % Wilson interval of `right` out of `n` independent answers."""
    from scipy.stats import binomtest

    found = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


def clustered(scores: Sequence[float], groups: Sequence[str], *, draws: int = 2000, seed: int = 0) -> Interval:
    """The 95 % percentile bootstrap interval of the mean, resampling whole groups.

    Questions about one image are not independent, so that the images are drawn, not the rows (Miller 2024,
    arXiv:2411.00640, gives the variance; the bootstrap needs no normality).

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
    chosen = np.random.default_rng(seed).integers(0, len(totals), size=(draws, len(totals)))
    means = totals[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
