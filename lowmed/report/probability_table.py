"""Probabilities of answers, AUROC and calibration, as rows of a table."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import EvalReport, ProbabilityMetrics, SplitReport, ThresholdMetrics
from lowmed.report.classification_table import NOT_DEFINED, difference_text, figure_text

AT_THRESHOLD = {"sensitivity": "sensitivity", "specificity": "specificity", "balanced accuracy": "balanced_accuracy"}
KINDS = {"yes_no": "yes/no", "choice": "choices"}
Row = tuple[str, list[str]]


def show(shown: Console, report: EvalReport) -> None:
    """Print the rows of each split; nothing without stored probabilities."""
    table = Table(box=None, pad_edge=False, show_header=False)
    has_both = any(part.auroc for part in report.splits.values())
    heads = [*report.systems, *(["tuned - base"] if has_both else [])]
    for _ in ("label", *heads):
        table.add_column()
    for split, part in report.splits.items():
        if rows := page_rows(part, report.systems):
            table.add_row(f"[bold]{escape(split)}, probabilities[/bold]", *heads)
        for label, cells in rows:
            table.add_row(f"  {escape(label)}", *cells)
    if table.row_count:
        shown.print()
        shown.print(table)
        shown.print("\nProbabilities: each option in place of the answer of its completion. Brier score and expected")
        shown.print(
            "calibration error (ECE, ten bins): 0 is best. p: DeLong's test. A threshold is chosen on dev only."
        )


def page_rows(part: SplitReport, systems: list[str]) -> list[Row]:
    """Label and cells of each figure: one a system, and one with the difference of base and tuned."""
    rows: list[Row] = []
    for kind, title in KINDS.items():
        results = [getattr(part.probabilities.get(system), kind, None) for system in systems]
        first: ProbabilityMetrics | None = next(filter(None, results), None)
        if first is None:
            continue
        without = "".join(f", {name} lacks {one.without}" for name, one in _lacking(systems, results).items())
        if kind == "yes_no":
            cells = [(figure_text(one.auroc) if one else "") for one in results]
            if part.auroc:
                p = NOT_DEFINED if part.auroc.p_delong is None else f"{part.auroc.p_delong:.3g}"
                cells.append(f"{difference_text(part.auroc)}, p {p}")
            rows.append((f"{title}, n={first.questions}{without}: AUROC", cells))
            rows += _threshold_rows(part, systems)
        label = "Brier score, ECE"
        figures = [f"{one.brier:.3f}, {one.ece:.3f}" if one else "" for one in results]
        rows.append((label if kind == "yes_no" else f"{title}, n={first.questions}{without}: {label}", figures))
    return [*rows, *_task_rows(part, systems)]


def _task_rows(part: SplitReport, systems: list[str]) -> list[Row]:
    """The AUROC of each class against all others, for choices among recurring options."""
    results = [part.probabilities.get(system) for system in systems]
    by_task = [{task.classes: task for task in result.tasks} if result else {} for result in results]
    rows: list[Row] = []
    for classes in dict.fromkeys(name for tasks in by_task for name in tasks):
        tasks = [task.get(classes) for task in by_task]
        first = next(filter(None, tasks))
        label = f"{len(classes)} classes, n={first.questions}: macro AUROC, each against the others"
        rows.append((label, [figure_text(task.macro_auroc) if task else "" for task in tasks]))
        for name in first.auroc:
            figures = [task.auroc.get(name) if task else None for task in tasks]
            rows.append((f"  {name}", [figure_text(figure) if figure else "" for figure in figures]))
    return rows


def _threshold_rows(part: SplitReport, systems: list[str]) -> list[Row]:
    """The threshold from dev, and the figures of the test at it; none without one."""
    results: list[ThresholdMetrics | None] = [
        getattr(part.probabilities.get(system), "at_threshold", None) for system in systems
    ]
    first = next(filter(None, results), None)
    if first is None:
        return []
    label = f"  threshold from {first.dev_questions} dev questions"
    rows = [(label, [f"{one.threshold:.3f}" if one else "" for one in results])]
    for name, field in AT_THRESHOLD.items():
        figures = [getattr(one.metrics, field) if one else None for one in results]
        rows.append((f"  {name} at it", [figure_text(figure) if figure else "" for figure in figures]))
    return rows


def _lacking(systems: list[str], results: list[ProbabilityMetrics | None]) -> Mapping[str, ProbabilityMetrics]:
    return {name: one for name, one in zip(systems, results, strict=True) if one and one.without}
