"""Two systems' reports on the same images: the paired difference of each figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.evaluation.combined_intervals import measured_share, weighted_sum
from lowmed.evaluation.metrics import mean
from lowmed.evaluation.paired_tests import sign_flip
from lowmed.evaluation.records import ReportDifference

Row = Mapping[str, Any]
FIGURES = ("rouge_l", "google_bleu", "f1", "precision", "recall")
UNITS = 100  # of the test: changes are rounded to a hundredth, so that the exact distribution is short


def report_difference(before: Sequence[Row], after: Sequence[Row]) -> dict[str, ReportDifference] | None:
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
            result[name] = _difference(pairs)
    return result or None


def report_difference_by_split(before: Sequence[Row], after: Sequence[Row]) -> dict[str, dict[str, ReportDifference]]:
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


def main_difference(differences: Mapping[str, ReportDifference]) -> tuple[str, ReportDifference]:
    """The figure that decides and its difference: F1 of findings, or ROUGE-L if no reference states findings.

    Args:
        differences: at least one figure.
    """
    name = "f1" if "f1" in differences else "rouge_l"
    return name, differences[name]


def _difference(pairs: Sequence[tuple[float, float, str]]) -> ReportDifference:
    first, second, groups = (list(part) for part in zip(*pairs, strict=True))
    of_first, of_second = measured_share(first, groups), measured_share(second, groups)
    measured = [part for part in (of_second, of_first) if part is not None]
    _, interval = weighted_sum(measured, (1.0, -1.0), (-1.0, 1.0))
    changes = [round(UNITS * (after - before)) for before, after in zip(first, second, strict=True)]
    return ReportDifference(
        questions=len(pairs),
        images=len(set(groups)),
        first=mean(first),
        second=mean(second),
        difference=mean(second) - mean(first),
        by_image=interval,
        p_by_image=sign_flip(changes, groups),
    )
