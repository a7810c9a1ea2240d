"""95 % intervals of weighted sums of shares, such as a balanced accuracy or the difference of two F1 scores.

The bootstrap over images is not used: with few images or few errors it covers far less than 95 %
(benchmarks/classification.py).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lowmed.evaluation.intervals import Interval, difference_interval, mean_interval


@dataclass(frozen=True)
class Measured:
    """A share, or a mean of paired changes, with its interval.

    `influence` is what each image adds to the deviation from the true value: the sum of its deviations from the mean,
    divided by the number of values.
    """

    value: float
    interval: Interval
    influence: Mapping[str, float]


def measured_share(scores: Sequence[float], groups: Sequence[str]) -> Measured | None:
    """The mean of scores between 0 and 1, one per question; None without scores."""
    if not scores:
        return None
    return Measured(sum(scores) / len(scores), mean_interval(scores, groups), _influence(scores, groups))


def measured_change(changes: Sequence[int], groups: Sequence[str]) -> Measured | None:
    """The mean of paired changes, each -1, 0 or 1; None without questions."""
    if not changes:
        return None
    return Measured(sum(changes) / len(changes), difference_interval(changes, groups), _influence(changes, groups))


def weighted_sum(parts: Sequence[Measured], weights: Sequence[float], bounds: Interval) -> tuple[float, Interval]:
    """The weighted sum of figures that were measured on the same images, and its interval within `bounds`.

    MOVER (Zou and Donner 2008): the distance of each limit from the sum is the root of the summed squared distances of
    the parts' limits, with the correlations of the parts. These are estimated from the influence of the images, and
    lowered as if there were one more image without a correlation. So two systems with equal answers do not have an
    interval without width.
    """
    import numpy as np

    images = sorted({image for part in parts for image in part.influence})
    value = sum(weight * part.value for weight, part in zip(weights, parts, strict=True))
    if len(images) < 2:  # one image says nothing about other images
        return value, bounds
    rows = np.asarray([[part.influence.get(image, 0.0) for image in images] for part in parts])
    covariance = rows @ rows.T
    spread = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    correlation = np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 0)
    correlation *= len(images) / (len(images) + 1)
    np.fill_diagonal(correlation, 1.0)
    ends = [(part.interval if weight > 0 else part.interval[::-1]) for weight, part in zip(weights, parts, strict=True)]
    halves = []
    for side in (0, 1):
        distances = np.asarray(
            [weight * abs(part.value - end[side]) for weight, part, end in zip(weights, parts, ends, strict=True)]
        )
        halves.append(math.sqrt(max(0.0, float(distances @ correlation @ distances))))
    return value, (max(bounds[0], value - halves[0]), min(bounds[1], value + halves[1]))


def _influence(values: Sequence[float], groups: Sequence[str]) -> dict[str, float]:
    mean = sum(values) / len(values)
    result: dict[str, float] = defaultdict(float)
    for value, group in zip(values, groups, strict=True):
        result[group] += (value - mean) / len(values)
    return dict(result)
