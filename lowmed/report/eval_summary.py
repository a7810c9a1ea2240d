"""Evaluations in a few lines for the terminal: the verdict, and the accuracy of each split."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import EvalReport, Metrics, SplitReport
from lowmed.report.console import NOTICE, console, interval
from lowmed.report.eval_table import title
from lowmed.report.report_rows import LABELS
from lowmed.report.verdict import evaluations_verdict


def show_summary(reports: Sequence[EvalReport], *, verdict_only: bool = False) -> None:
    """Print the verdict, and a row for each split.

    Args:
        reports: the data sets of one evaluation.
        verdict_only: leave out the rows.
    """
    shown = console()
    verdict = evaluations_verdict(reports)
    if not verdict_only:
        for report in reports:
            shown.print(f"[bold]{escape(title(report))}[/bold]")
        shown.print()
    for problem in verdict.problems:
        shown.print(f"[bold red]PROBLEM[/bold red]  {escape(problem)}")
    for finding in verdict.findings:
        shown.print(escape(finding))
    if verdict_only:
        return
    shown.print()
    shown.print(_table(reports))
    for report in reports:
        for change in report.changes:
            shown.print(
                f"changed by the answer rules {report.rules}, {change.system}: {change.before} -> {change.after}, "
                f"{change.questions} questions"
            )
    shown.print(f"\nIntervals are 95 %, for questions that share images. {NOTICE}")


def _table(reports: Sequence[EvalReport]) -> Table:
    systems = list(dict.fromkeys(system for report in reports for system in report.systems))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "n", "images", "prior", *systems):
        table.add_column(heading)
    for report in reports:
        for split, part in report.splits.items():
            name = split if len(reports) == 1 else f"{report.source} {split}"
            for label, cells in _rows(part, systems):
                floor = "" if part.no_image_floor is None else f"{part.no_image_floor:.3f}"
                prior = floor if label == "" else ""
                table.add_row(escape(name + label), f"{part.questions:,}", f"{part.images:,}", prior, *cells)
        for scores in report.judged:
            for split, by_system in scores.splits.items():
                name = split if len(reports) == 1 else f"{report.source} {split}"
                first = next(iter(by_system.values()))
                judged = (by_system.get(system) for system in systems)
                cells = [f"{one.accuracy:.3f} {interval(one.by_image)}" if one else "" for one in judged]
                label = f"{name}, open, judged by {scores.judge.model}"
                table.add_row(escape(label), f"{first.questions:,}", "", "", *cells)
    return table


def _rows(part: SplitReport, systems: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Accuracy, and the main figure of reports; a split has one of them or both."""
    results = [part.results.get(system) for system in systems]
    rows = []
    if any(result and result.lenient for result in results):
        rows.append(("", [_accuracy(result) for result in results]))
    scores = {name: [_of_reports(result, name) for result in results] for name in ("f1", "rouge_l")}
    return rows + [(f", {LABELS[name]}", cells) for name, cells in scores.items() if any(cells)]


def _accuracy(result: Metrics | None) -> str:
    one = result.lenient if result else None
    return f"{one.accuracy:.3f} {interval(one.by_image)}" if one else ""


def _of_reports(result: Metrics | None, name: str) -> str:
    figure = getattr(result.reports.written, name) if result and result.reports else None
    return f"{figure.value:.3f} {interval(figure.by_image)}" if figure else ""
