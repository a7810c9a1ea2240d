"""The area under the ROC curve with its variance: DeLong et al. 1988, extended to shared images by Obuchowski 1997."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lowmed.evaluation.combined_intervals import Measured
from lowmed.evaluation.intervals import ALPHA, Interval, effective_images

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


def aurocs(
    systems: Sequence[Sequence[float]], positive: Sequence[bool], groups: Sequence[str]
) -> "tuple[list[Measured], NDArray[float64]]":
    """The AUROC of each system on the same questions, and the covariance of the AUROCs.

    The component of a positive is the share of the negatives with a lower score, ties counted half; that of a negative
    is the share of the positives with a higher score. The covariance is that of the components' sums by image, which
    with one question per image is DeLong's.

    Args:
        systems: scores of each system, one for each question; higher for yes.
        positive: whether the gold answer of each question is yes; both answers occur.
        groups: image or patient of each question.
    """
    import numpy as np
    from scipy.stats import rankdata

    is_positive = np.asarray(positive, dtype=bool)
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    count, positives, negatives = len(names), int(is_positive.sum()), int((~is_positive).sum())
    values, by_side = [], []
    for scores in systems:
        ranks = rankdata(scores)
        own = np.empty(len(ranks))
        for side in (is_positive, ~is_positive):
            own[side] = rankdata(np.asarray(scores)[side])
        components = np.where(is_positive, (ranks - own) / negatives, 1 - (ranks - own) / positives)
        values.append(float(components[is_positive].mean()))
        parts = (components - values[-1]) / np.where(is_positive, positives, negatives)
        by_side.append([np.bincount(group_of[side], parts[side], count) for side in (is_positive, ~is_positive)])
    of_positives, of_negatives = (np.asarray([sides[at] for sides in by_side]) for at in (0, 1))
    images = [len(set(group_of[side])) for side in (is_positive, ~is_positive)]
    cross = of_positives @ of_negatives.T
    covariance = (
        _unbiased(images[0]) * of_positives @ of_positives.T
        + _unbiased(images[1]) * of_negatives @ of_negatives.T
        + _unbiased(count) * (cross + cross.T)
    )
    measured = [
        Measured(
            value, _interval(value, float(variance), images), dict(zip(names.tolist(), sums.tolist(), strict=True))
        )
        for value, variance, sums in zip(values, np.diag(covariance), of_positives + of_negatives, strict=True)
    ]
    return measured, covariance


def delong_p(
    difference: float, covariance: "NDArray[float64]", positive: Sequence[bool], groups: Sequence[str]
) -> float | None:
    """The two-sided p of DeLong's test of two systems; None if they differ, and the difference has no variance.

    DeLong takes the normal distribution. Student's t is used here, with the images of the rarer answer, since with 20
    images the normal one calls equal systems different in 15 of 100 cases (benchmarks/auroc.py).

    Args:
        difference: of the AUROCs.
        covariance: of the AUROCs, as `aurocs` returns it.
        positive: as of `aurocs`.
        groups: as of `aurocs`.
    """
    from scipy.stats import t

    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    images = min(
        effective_images([group for group, one in zip(groups, positive, strict=True) if one == side])
        for side in (True, False)
    )
    if variance <= 1e-12:  # rounding
        return 1.0 if abs(difference) < 1e-9 else None
    return float(2 * t.sf(abs(difference) / variance**0.5, max(0.1, images - 1)))


def _unbiased(images: int) -> float:
    return images / (images - 1) if images > 1 else 0.0


def _interval(value: float, variance: float, images: Sequence[int]) -> Interval:
    """Clopper-Pearson on the number of questions whose share has this variance.

    It is at most the number of images with a yes or with a no, whichever are fewer, if there is no variance.
    """
    from scipy.stats import beta

    if min(images) < 2:  # one image with a yes, or with a no, says nothing about others
        return 0.0, 1.0
    size = value * (1 - value) / variance if variance > 0 else float(min(images))
    size = min(size, float(sum(images)))
    hits = value * size
    low = float(beta.ppf(ALPHA / 2, hits, size - hits + 1)) if value > 0 else 0.0
    high = float(beta.ppf(1 - ALPHA / 2, hits + 1, size - hits)) if value < 1 else 1.0
    return low, high
