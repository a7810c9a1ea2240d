"""The paired difference of a score from 0 to 1, such as the overlap of boxes or the similarity of reports."""

from collections.abc import Sequence
from statistics import fmean

from lowmed.evaluation.combined_intervals import measured_share, weighted_sum
from lowmed.evaluation.paired_tests import sign_flip
from lowmed.evaluation.records import ScoreDifference

UNITS = 100  # of the test: changes are rounded to a hundredth, so that the exact distribution is short


def score_difference(pairs: Sequence[tuple[float, float, str]]) -> ScoreDifference:
    """Second minus first, with an interval and an exact test over images.

    Args:
        pairs: score of the first and of the second system, and the image or patient; at least one.
    """
    first, second, groups = (list(part) for part in zip(*pairs, strict=True))
    of_first, of_second = measured_share(first, groups), measured_share(second, groups)
    measured = [part for part in (of_second, of_first) if part is not None]
    _, interval = weighted_sum(measured, (1.0, -1.0), (-1.0, 1.0))
    changes = [round(UNITS * (after - before)) for before, after in zip(first, second, strict=True)]
    return ScoreDifference(
        questions=len(pairs),
        images=len(set(groups)),
        first=fmean(first),
        second=fmean(second),
        difference=fmean(second) - fmean(first),
        by_image=interval,
        p_by_image=sign_flip(changes, groups),
    )
