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
    "ppv": "PPV at this prevalence",
    "npv": "NPV at this prevalence",
    "f1": "F1",
    "balanced_accuracy": "balanced accuracy",
}
TASK_FIGURES = {"macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy"}
NOT_DEFINED = "not defined"  # a denominator is 0
PAIRS = {
    "sensitivity, specificity": ("sensitivity", "specificity"),
    "PPV, NPV at this prevalence": ("ppv", "npv"),
    "F1, balanced accuracy": ("f1", "balanced_accuracy"),
}
CELLS_SHOWN, TASKS_SHOWN, CLASS_CHARACTERS = 12, 5, 24  # in the terminal; the rest is in the JSON and on the page
NOTES = (
    "yes/no: yes is the positive answer. An unread answer counts as the wrong one: missed if the gold answer is yes,",
    "a false positive if it is no. PPV and NPV hold only for this prevalence, the share of the gold answer yes.",
)
Row = tuple[str, list[str]]
Block = tuple[Sequence[Classification | None], ClassificationDifference | None]
Difference = PairedDifference | FigureDifference | None


def show(shown: Console, blocks: Mapping[str, Block], systems: Sequence[str]) -> None:
    """Print the figures of each split, in a table of its own because its cells are wide; nothing without any.

    Args:
        shown: the console.
        blocks: split or "" -> the figures of each system, and tuned minus base if both were evaluated.
        systems: names of the systems.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in ("label", *systems):
        table.add_column()
    for split, (results, change) in blocks.items():
        _add_block(table, f"{split}, " if split else "", results, change, systems)
    if table.row_count:
        shown.print(table)
        shown.print()
        for line in NOTES:
            shown.print(line)


def _add_block(
    table: Table,
    prefix: str,
    results: Sequence[Classification | None],
    change: ClassificationDifference | None,
    systems: Sequence[str],
) -> None:
    known = [result for result in results if result]
    tests = [result.yes_no if result else None for result in results]
    if test := next(filter(None, tests), None):
        if table.row_count:
            table.add_row("")
        size = f"n={test.questions}, prevalence {test.prevalence:.3f}{FEW if test.few else ''}"
        table.add_row(f"[bold]{escape(prefix)}yes/no[/bold], {size}", *systems)
        for label, names in PAIRS.items():
            table.add_row(f"  {label}", *(_pair(one, names) for one in tests))
            if change and change.yes_no:
                pair = ", ".join(difference_text(getattr(change.yes_no, name)) for name in names)
                table.add_row("    tuned - base", *_last(results, pair))
        table.add_row("  gold yes; no: answered yes, no, unread", *map(_counts, tests))
    for label, cells in _by_column(known, results) if known else ():
        table.add_row(f"    {escape(label)}", *cells)
    for at, task in enumerate(known[0].tasks[:TASKS_SHOWN] if known else ()):
        label = f"{task_label(task.classes)}, n={task.questions}{FEW if task.few else ''}"
        table.add_row(f"[bold]{escape(prefix)}[/bold]{escape(label)}", *systems)
        tasks = [result.tasks[at] if result else None for result in results]
        table.add_row("  macro F1, balanced accuracy", *(_pair(one, tuple(TASK_FIGURES)) for one in tasks))
        if change:
            pair = ", ".join(difference_text(getattr(change.tasks[at], name)) for name in TASK_FIGURES)
            table.add_row("    tuned - base", *_last(results, pair))


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
    rows += _by_column(known, results, every=True)
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
        labels = {name: f"yes/no {label.removesuffix(' at this prevalence')}" for name, label in FIGURES.items()}
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
    return f"{difference.difference:+.3f} {interval(difference.by_image)}" if difference else NOT_DEFINED


def _by_column(
    known: Sequence[Classification], results: Sequence[Classification | None], *, every: bool = False
) -> list[Row]:
    """Sensitivity and specificity by value of a column; in the terminal only for columns of the user's choice."""
    rows: list[Row] = []
    for column, by_value in known[0].yes_no_by.items():
        if not every and (column in ("modality", "topic") or len(by_value) > CELLS_SHOWN):
            continue
        for value, test in by_value.items():
            size = f"n={test.questions}, prevalence {test.prevalence:.3f}{FEW if test.few else ''}"
            tests = [result.yes_no_by[column][value] if result else None for result in results]
            label = f"{column} {value}, {size}: sensitivity, specificity" if every else f"{column} {value}, {size}"
            rows.append((label, [_pair(one, ("sensitivity", "specificity")) for one in tests]))
    return rows


def _pair(record: YesNoMetrics | ChoiceTask | None, names: Sequence[str]) -> str:
    return ", ".join(figure_text(getattr(record, name)) for name in names) if record else ""


def _counts(test: YesNoMetrics | None) -> str:
    if test is None:
        return ""
    return "; ".join(f"{counts.yes}, {counts.no}, {counts.unread}" for counts in (test.gold_yes, test.gold_no))


def _last(results: Sequence[object], text: str) -> list[str]:
    return [*[""] * (len(results) - 1), text]
