"""The metrics of written reports as rows of a table."""

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import ControlEffect, Figure, ReportMetrics, ReportScores, ScoreDifference
from lowmed.evaluation.report_difference import main_difference
from lowmed.report.console import interval

NOT_APPLICABLE = "does not apply to reports"
LABELS = {
    "rouge_l": "ROUGE-L",
    "google_bleu": "Google BLEU",
    "f1": "findings F1",
    "precision": "findings precision",
    "recall": "findings recall",
}
BASELINES = {"constant": "same report for all", "exchanged": "another patient's"}


def report_rows(results: Sequence[ReportMetrics | None]) -> list[tuple[str, list[str]]]:
    """Label and one cell a system for each figure, followed by its baselines; empty without reports.

    Args:
        results: the report metrics of each system.
    """
    if not any(results):
        return []
    rows = []
    for name, label in LABELS.items():
        rows.append((label, [_cell(result.written, name) if result else "" for result in results]))
        for baseline, description in BASELINES.items():
            cells = [_baseline(result, baseline, name) if result else "" for result in results]
            rows.append((f"  {description}", cells))
    lengths = [f"{one.written.words:.0f}, {one.reference_words:.0f}" if one else "" for one in results]
    return [*rows, ("mean words, of the reference", lengths)]


def reports_title(results: Sequence[ReportMetrics | None]) -> str:
    """How many reports the rows are about; "" without reports."""
    first = next((result for result in results if result), None)
    if first is None:
        return ""
    left_out = f", {first.without_findings} without findings" if first.without_findings else ""
    return f"{first.reports} reports{left_out}, intervals by image"


def add_reports(table: Table, results: Sequence[ReportMetrics | None]) -> None:
    """Rows of written reports, each figure next to its two baselines; none without reports."""
    if first_line := reports_title(results):
        table.add_row(f"  {first_line}")
    for label, cells in report_rows(results):
        table.add_row(f"    {escape(label)}", *cells)


def control_cell(effect: ControlEffect | None) -> str:
    """What a control does to reports: the figure that decides, with the real and with the altered input."""
    if not effect or not effect.reports:
        return ""
    name, change = main_difference(effect.reports)
    return f"{change.second:.3f} -> {change.first:.3f} {LABELS[name]}"


def difference_rows(differences: Mapping[str, ScoreDifference] | None) -> list[tuple[str, ScoreDifference]]:
    """Label and difference of each figure; empty without reports."""
    return [(f"reports, {LABELS[name]}", one) for name, one in (differences or {}).items()]


def _baseline(result: ReportMetrics, baseline: str, name: str) -> str:
    scores = result.constant if baseline == "constant" else result.exchanged
    return _cell(scores, name) if scores else "unknown"


def _cell(scores: ReportScores, name: str) -> str:
    estimate: Figure | None = getattr(scores, name)
    if estimate is None:
        return "-"
    return f"{estimate.value:.3f} {interval(estimate.by_image)}"
