"""The field metrics of JSON answers as rows of a table."""

from collections.abc import Sequence

from lowmed.evaluation.records import FieldMetrics, Figure
from lowmed.report.console import interval

_LEVELS = {"micro": "all fields", "mean": "mean of documents"}


def field_rows(results: Sequence[FieldMetrics | None]) -> list[tuple[str, list[str]]]:
    """Label and one cell a system for each metric; empty without JSON questions.

    Args:
        results: the field metrics of each system.
    """
    first = next((result for result in results if result), None)
    if first is None:
        return []
    rows = [
        (f"field {name.replace('f1', 'F1')}, {label}", [_cell(_estimate(result, level, name)) for result in results])
        for level, label in _LEVELS.items()
        for name in ("f1", "precision", "recall")
    ]
    trees = [_cell(result.tree_similarity) if result else "" for result in results]
    too_large = f", {first.without_tree} too large" if first.without_tree else ""
    return [*rows, (f"tree similarity, mean of documents{too_large}", trees)]


def _estimate(result: FieldMetrics | None, level: str, name: str) -> Figure | None:
    scores = result and (result.micro if level == "micro" else result.mean)
    estimates = {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall} if scores else {}
    return estimates.get(name)


def _cell(estimate: Figure | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3f} {interval(estimate.by_image)}"
