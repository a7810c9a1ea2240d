"""Two systems' boxes on the same questions: the paired difference of their overlap."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.evaluation.records import ScoreDifference
from lowmed.evaluation.score_difference import score_difference

Row = Mapping[str, Any]


def iou_difference(before: Sequence[Row], after: Sequence[Row]) -> ScoreDifference | None:
    """Second minus first of the mean IoU, on the same questions with gold boxes; None without any.

    Args:
        before: scored rows of the first system.
        after: scored rows of the second system, in the same order.
    """
    pairs = [
        (float(one["boxes"]["iou"]), float(other["boxes"]["iou"]), str(one["group"]))
        for one, other in zip(before, after, strict=True)
        if one.get("boxes") and other.get("boxes") and one["boxes"]["gold"]
    ]
    return score_difference(pairs) if pairs else None
