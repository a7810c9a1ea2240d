"""95 % confidence intervals of shares, means and paired differences, for questions that share images.

Questions about one image are not independent. Every interval here uses an effective sample size: the number of
questions divided by the design effect. benchmarks/intervals.py measures the coverage.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

Interval = tuple[float, float]
ALPHA = 0.05
MIN_QUESTIONS, MIN_IMAGES = 30, 10  # a part with fewer questions or images is shown and marked


def wilson(correct: int, n: int) -> Interval:
    """The 95 % Wilson interval of `correct` out of `n` independent answers."""
    from scipy.stats import binomtest

    result = binomtest(correct, n).proportion_ci(confidence_level=1 - ALPHA, method="wilson")
    return float(result.low), float(result.high)


def mean_interval(scores: Sequence[float], groups: Sequence[str]) -> Interval:
    """The 95 % interval of the mean of scores between 0 and 1, such as an accuracy or a mean token F1.

    Clopper-Pearson on the effective sample size with the degrees of freedom of the images (Korn and Graubard 1998).
    With one question per image it is the exact binomial interval. The bootstrap is not used because it has no width
    when all answers are right. Scores other than 0 and 1 vary less than a share with the same mean; the effective
    size grows by the ratio of the two variances.

    Args:
        scores: one per question.
        groups: image or patient of each question.
    """
    import numpy as np
    from scipy.stats import beta

    images = len(set(groups))
    if images < 2:  # one image says nothing about other images
        return 0.0, 1.0
    groups, scores = zip(*sorted(zip(groups, scores, strict=True)), strict=True)  # the order of rows has no effect
    values = np.asarray(scores, dtype=float)
    mean, n = float(values.mean()), len(values)
    size = effective_size(scores, groups)
    share_variance, variance = mean * (1 - mean), float(values.var())
    if variance > 0:
        size *= (_quantile(n) / _quantile(effective_images(groups))) ** 2  # the variance is estimated from the images
        size *= share_variance * (n + 1) / (variance * n + share_variance)  # the 1 keeps a tiny variance from ruling
    hits = mean * size
    low = float(beta.ppf(ALPHA / 2, hits, size - hits + 1)) if mean > 0 else 0.0
    high = float(beta.ppf(1 - ALPHA / 2, hits + 1, size - hits)) if mean < 1 else 1.0
    return low, high


def difference_interval(changes: Sequence[float], groups: Sequence[str]) -> Interval:
    """The 95 % interval of the mean of paired changes, each -1, 0 or 1.

    The adjusted Wald interval of Bonett and Price (2012) on the effective sample size, with the t quantile of the
    images: one question is added to each kind of change. So equal answers do not give an interval without width.

    Args:
        changes: one per question.
        groups: image or patient of each question.
    """
    import math

    images = len(set(groups))
    if images < 2:
        return -1.0, 1.0
    size = effective_size(changes, groups)
    scale = size / len(changes)
    gained = (scale * sum(change > 0 for change in changes) + 1) / (size + 2)
    lost = (scale * sum(change < 0 for change in changes) + 1) / (size + 2)
    center = gained - lost
    equal = len(set(changes)) == 1  # without a variance there is none to estimate from unequal images
    half = _quantile(images if equal else effective_images(groups)) * math.sqrt(
        (gained + lost - center**2) / (size + 2)
    )
    return max(-1.0, center - half), min(1.0, center + half)


def effective_size(values: Sequence[float], groups: Sequence[str]) -> float:
    """The number of independent questions with the same information; the number of images if all values are equal."""
    if len(set(values)) == 1:  # no variance to compare, so each image may count as one question
        return float(len(set(groups)))
    return len(values) / design_effect(values, groups)


def effective_images(groups: Sequence[str]) -> float:
    """The number of equally large groups with the same weight (Kish 1965): n^2 over the sum of squared group sizes.

    It sets the degrees of freedom. One patient with most of the questions leaves few, however many others there are.
    """
    return len(groups) ** 2 / sum(count**2 for count in Counter(groups).values())


def design_effect(values: Sequence[float], groups: Sequence[str]) -> float:
    """Variance of the mean with clustered groups, divided by that of independent rows; at least 1.

    The larger of two estimates. The first is the clustered variance of Miller 2024 (arXiv:2411.00640): C/(C-1) times
    the sum of squared group totals of deviations. It is too small by chance if the few wrong answers are in small
    groups. The second is 1 + ICC (K - 1), with the intraclass correlation of a one-way analysis of variance and K the
    mean group size weighted by size (Kish 1965).
    """
    import numpy as np

    scores = np.asarray(values, dtype=float)
    _names, group_index = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(group_index).astype(float)
    deviations = scores - scores.mean()
    totals = np.bincount(group_index, weights=deviations).astype(float)
    n, images, squares = len(scores), len(sizes), float((deviations**2).sum())
    if images < 2 or squares == 0:
        return 1.0
    clustered = float((totals**2).sum()) * images / (images - 1) * (n - 1) / n / squares
    return max(1.0, clustered, 1 + _intraclass(totals, sizes, squares) * (float((sizes**2).sum()) / n - 1))


def _intraclass(totals: "NDArray[float64]", sizes: "NDArray[float64]", squares: float) -> float:
    """The intraclass correlation by analysis of variance, from 0 to 1; 0 if every group has one row."""
    n, images = float(sizes.sum()), len(sizes)
    if n == images:
        return 0.0
    between_squares = float((totals**2 / sizes).sum())
    between = between_squares / (images - 1)
    within = max(0.0, squares - between_squares) / (n - images)
    typical_size = (n - float((sizes**2).sum()) / n) / (images - 1)
    total = between + (typical_size - 1) * within
    return min(1.0, max(0.0, (between - within) / total)) if total > 0 else 0.0


def too_few(groups: Sequence[str]) -> bool:
    """Whether questions with these images or patients are too few for a stable figure."""
    return len(groups) < MIN_QUESTIONS or len(set(groups)) < MIN_IMAGES


def _quantile(n: float) -> float:
    """The two-sided 95 % quantile of Student's t with n - 1 degrees of freedom, at least 0.1."""
    from scipy.stats import t

    return float(t.ppf(1 - ALPHA / 2, max(0.1, n - 1)))
