"""The metrics of predicted boxes as rows of a table."""

from collections.abc import Callable, Sequence

from lowmed.evaluation.records import BoxMetrics, Figure
from lowmed.report.console import interval


def box_rows(results: Sequence[BoxMetrics | None]) -> list[tuple[str, list[str]]]:
    """Label and one cell a system for each metric; empty without questions about boxes.

    Args:
        results: the box metrics of each system.
    """
    first = next((result for result in results if result), None)
    if first is None:
        return []
    without = first.questions - first.with_boxes
    cells: dict[str, Callable[[BoxMetrics], str]] = {
        "mean IoU": lambda result: _cell(result.iou),
        "  of the mean training box": lambda result: _cell(result.baselines.mean_box),
        "  of the complete image": lambda result: _cell(result.baselines.complete_image),
        "gold boxes with IoU > 0.5 (recall)": lambda result: _cell(result.recall),
        "predicted boxes with IoU > 0.5 (precision)": lambda result: _cell(result.precision),
        "mAP at 0.5": lambda result: _number(result.mean_average_precision),
        f"right none, of {without} questions without boxes": lambda result: _cell(result.none_right),
        "answers read as boxes": lambda result: _cell(result.read),
        "predicted boxes outside of the image": lambda result: _number(result.outside),
    }
    rows = [(label, [cell(result) if result else "" for result in results]) for label, cell in cells.items()]
    return [row for row in rows if any(row[1])]


def _cell(estimate: Figure | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3f} {interval(estimate.by_image)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
