"""Two systems' reports on the same images: the paired difference of each figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.evaluation.records import ScoreDifference
from lowmed.evaluation.score_difference import score_difference

Row = Mapping[str, Any]
FIGURES = ("rouge_l", "google_bleu", "f1", "precision", "recall")


def report_difference(before: Sequence[Row], after: Sequence[Row]) -> dict[str, ScoreDifference] | None:
    """Second minus first of each figure, on the same reports; None without reports.

    Args:
        before: scored rows of the first system.
        after: scored rows of the second system, in the same order.
    """
    result = {}
    for name in FIGURES:
        pairs = [
            (float(one["report"][name]), float(other["report"][name]), str(one["group"]))
            for one, other in zip(before, after, strict=True)
            if one.get("report") and other.get("report") and one["report"][name] is not None
        ]
        if pairs:
            result[name] = score_difference(pairs)
    return result or None


def report_difference_by_split(before: Sequence[Row], after: Sequence[Row]) -> dict[str, dict[str, ScoreDifference]]:
    """The differences within each split, if there are several splits with reports.

    Args:
        before: scored rows of the first system.
        after: scored rows of the second system, in the same order.
    """
    pairs = [(one, other) for one, other in zip(before, after, strict=True) if one.get("report")]
    result = {}
    for split in sorted({str(one.get("split") or "") for one, _ in pairs}):
        first, second = zip(*(pair for pair in pairs if str(pair[0].get("split") or "") == split), strict=True)
        result[split] = report_difference(first, second) or {}
    return result if len(result) > 1 else {}


def main_difference(differences: Mapping[str, ScoreDifference]) -> tuple[str, ScoreDifference]:
    """The figure that decides and its difference: F1 of findings, or ROUGE-L if no reference states findings.

    Args:
        differences: at least one figure.
    """
    name = "f1" if "f1" in differences else "rouge_l"
    return name, differences[name]
