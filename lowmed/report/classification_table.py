"""Yes/no questions as a test, and choice tasks as classes, as rows of a table."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import (
    ChoiceTask,
    ChoiceTaskDifference,
    Classification,
    ClassificationDifference,
    Figure,
    FigureDifference,
    PairedDifference,
    YesNoDifference,
    YesNoMetrics,
)
from lowmed.report.console import FEW, interval

FIGURES = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "balanced_accuracy": "balanced accuracy",
}
TASK_FIGURES = {"macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy"}
NOT_DEFINED = "not defined"  # a denominator is 0
CELLS_SHOWN, TASKS_SHOWN, CLASS_CHARACTERS = 20, 5, 24  # in the terminal; the rest is in the JSON and on the page
NOTES = (
    "yes/no: yes is the positive answer. An unread answer counts as the wrong one: missed if the gold answer is yes,",
    "a false positive if it is no. PPV and NPV hold only for this prevalence, the share of the gold answer yes.",
)
Row = tuple[str, list[str]]
Block = tuple[Sequence[Classification | None], ClassificationDifference | None]
Difference = PairedDifference | FigureDifference | None


def show(shown: Console, blocks: Mapping[str, Block], systems: Sequence[str]) -> None:
    """Print the figures of each split, in a table of its own; nothing without any.

    One system has two figures in a row. Base and tuned have one, next to their difference.

    Args:
        shown: the console.
        blocks: split or "" -> the figures of each system, and tuned minus base if both were evaluated.
        systems: names of the systems.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    heads = [*systems, *(["tuned - base"] if any(change for _, change in blocks.values()) else [])]
    for _ in ("label", *heads):
        table.add_column()
    for split, (results, change) in blocks.items():
        if known := [result for result in results if result]:
            if table.row_count:
                table.add_row("")
            _add_block(table, f"{split}, " if split else "", known, change, heads)
    if table.row_count:
        shown.print(table)
        shown.print()
        for line in NOTES:
            shown.print(line)


def _add_block(
    table: Table,
    prefix: str,
    results: Sequence[Classification],
    change: ClassificationDifference | None,
    heads: Sequence[str],
) -> None:
    if tests := [result.yes_no for result in results if result.yes_no]:
        size = f"n={tests[0].questions}, prevalence {tests[0].prevalence:.3f}{FEW if tests[0].few else ''}"
        table.add_row(f"[bold]{escape(prefix)}yes/no[/bold], {size}", *heads)
        _add_figures(table, FIGURES, tests, change.yes_no if change else None)
        table.add_row("  gold yes; no: yes, no, unread", *map(_counts, tests))
    _add_columns(table, results)
    for at, task in enumerate(results[0].tasks[:TASKS_SHOWN]):
        label = f"{task_label(task.classes)}, n={task.questions}{FEW if task.few else ''}"
        table.add_row(f"[bold]{escape(prefix)}[/bold]{escape(label)}", *heads)
        _add_figures(
            table, TASK_FIGURES, [result.tasks[at] for result in results], change.tasks[at] if change else None
        )


def _add_columns(table: Table, results: Sequence[Classification]) -> None:
    """Sensitivity and specificity by topic and by each column of the user's choice, such as the finding.

    Intervals are shown for one system; those of several are in the JSON and on the page.
    """
    for column, by_value in results[0].yes_no_by.items():
        if column == "modality" or len(by_value) > CELLS_SHOWN:
            continue
        several = len(results) > 1
        table.add_row(f"  by {escape(column)}: sensitivity, specificity")
        for value, test in by_value.items():
            label = f"{value}, n={test.questions}, prevalence {test.prevalence:.3f}{FEW if test.few else ''}"
            tests = [result.yes_no_by[column][value] for result in results]
            cells = [_values(one) if several else _pair(one, ("sensitivity", "specificity")) for one in tests]
            table.add_row(f"    {escape(label)}", *cells)


def _values(test: YesNoMetrics) -> str:
    figures = (test.sensitivity, test.specificity)
    return ", ".join(f"{figure.value:.3f}" if figure else NOT_DEFINED for figure in figures)


def _add_figures(
    table: Table,
    labels: Mapping[str, str],
    records: Sequence[YesNoMetrics | ChoiceTask],
    change: YesNoDifference | ChoiceTaskDifference | None,
) -> None:
    """A row for each figure, with its difference; or one for two figures if there is one system."""
    names, step = list(labels), 2 if len(records) == 1 else 1
    for at in range(0, len(names), step):
        shown = names[at : at + step]
        cells = [", ".join(figure_text(getattr(record, name)) for name in shown) for record in records]
        if change:
            cells.append(difference_text(getattr(change, shown[0])))
        table.add_row(f"  {', '.join(labels[name].strip() for name in shown)}", *cells)


def page_rows(results: Sequence[Classification | None], change: ClassificationDifference | None) -> list[Row]:
    """Label and one cell a system for each figure of the page; empty without yes/no questions and tasks."""
    known = [result for result in results if result]
    if not known:
        return []
    tests = [result.yes_no if result else None for result in results]
    rows: list[Row] = []
    if test := next(filter(None, tests), None):
        size = f"yes/no as a test for yes, n={test.questions} on {test.images} images{FEW if test.few else ''}"
        rows.append((f"{size}: prevalence of yes", [f"{one.prevalence:.3f}" if one else "" for one in tests]))
        for name, label in FIGURES.items():
            rows.append((label, [figure_text(getattr(one, name)) if one else "" for one in tests]))
            if change and change.yes_no:
                rows.append((f"{label}, tuned - base", _last(results, difference_text(getattr(change.yes_no, name)))))
        rows.append(("gold yes; gold no: answered yes, no, unread", [_counts(one) for one in tests]))
    rows += _by_column(known, results)
    for at, task in enumerate(known[0].tasks):
        label = f"{task_label(task.classes)}, n={task.questions}{FEW if task.few else ''}"
        for name, title in TASK_FIGURES.items():
            tasks = [result.tasks[at] if result else None for result in results]
            rows.append((f"{label}: {title}", [figure_text(getattr(one, name)) if one else "" for one in tasks]))
            if change:
                rows.append(
                    (f"{title}, tuned - base", _last(results, difference_text(getattr(change.tasks[at], name))))
                )
    return rows


def difference_rows(change: YesNoDifference | ChoiceTaskDifference) -> list[tuple[str, Difference]]:
    """The label and the difference of each figure of a comparison."""
    if isinstance(change, YesNoDifference):
        labels = {name: f"yes/no {label}" for name, label in FIGURES.items()}
    else:
        labels = {name: f"{title}, {task_label(change.classes)}" for name, title in TASK_FIGURES.items()}
    return [(label, getattr(change, name)) for name, label in labels.items()]


def task_label(classes: Sequence[str]) -> str:
    """The number of classes of a choice task and their names, shortened."""
    names = ", ".join(classes)
    shown = names if len(names) <= CLASS_CHARACTERS else names[:CLASS_CHARACTERS].rstrip(", ") + " ..."
    return f"{len(classes)} classes: {shown}"


def figure_text(figure: Figure | None) -> str:
    """A figure with its interval, or `not defined`."""
    return f"{figure.value:.3f} {interval(figure.by_image)}" if figure else NOT_DEFINED


def difference_text(difference: Difference) -> str:
    """A difference with its interval, or `not defined`."""
    return (
        f"{round(difference.difference, 3) + 0.0:+.3f} {interval(difference.by_image)}" if difference else NOT_DEFINED
    )


def _by_column(known: Sequence[Classification], results: Sequence[Classification | None]) -> list[Row]:
    """Sensitivity and specificity by value of each column."""
    rows: list[Row] = []
    for column, by_value in known[0].yes_no_by.items():
        for value, test in by_value.items():
            size = f"n={test.questions}, prevalence {test.prevalence:.3f}{FEW if test.few else ''}"
            tests = [result.yes_no_by[column][value] if result else None for result in results]
            cells = [_pair(one, ("sensitivity", "specificity")) for one in tests]
            rows.append((f"{column} {value}, {size}: sensitivity, specificity", cells))
    return rows


def _pair(record: YesNoMetrics | None, names: Sequence[str]) -> str:
    return ", ".join(figure_text(getattr(record, name)) for name in names) if record else ""


def _counts(test: YesNoMetrics | None) -> str:
    if test is None:
        return ""
    return "; ".join(f"{counts.yes}, {counts.no}, {counts.unread}" for counts in (test.gold_yes, test.gold_no))


def _last(results: Sequence[object], text: str) -> list[str]:
    return [*[""] * (len(results) - 1), text]
