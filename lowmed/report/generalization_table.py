"""Several data sets of one evaluation as rows of a table."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import EvalReport
from lowmed.report.console import console
from lowmed.report.eval_table import accuracy


def show_generalization(reports: Sequence[EvalReport]) -> None:
    """Print the data sets of one evaluation as rows, with their relation to training and their means."""
    shown = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("data", "training", "n", *(f"{system}, lenient accuracy" for system in reports[0].systems)):
        table.add_column(heading)
    for name, seen, questions, values in generalization(reports):
        table.add_row(escape(name), escape(seen), questions, *values)
    shown.print(table)


def generalization(reports: Sequence[EvalReport]) -> list[tuple[str, str, str, list[str]]]:
    """One row per split of each data set, then micro (each question once) and macro (each split once).

    Splits that have reports alone have no accuracy and do not count in the means.
    """
    systems = reports[0].systems
    parts = [(f"{report.source} {split}", part) for report in reports for split, part in report.splits.items()]
    lines = []
    for name, part in parts:
        stamp = " IMAGES SHARED" if part.images_trained_on else ""
        values = [accuracy(part.results[system].lenient) for system in systems]
        lines.append((name, part.seen + stamp, str(part.questions), values))
    counted = [(part.questions, [part.results[system].lenient for system in systems]) for _, part in parts]
    graded = [(questions, of_part) for questions, of_part in counted if all(of_part)]
    total = sum(questions for questions, _ in graded)
    weights = {"micro": [questions / total for questions, _ in graded], "macro": [1 / len(graded) for _ in graded]}
    for name, weight in weights.items() if graded else ():
        means = [
            sum(w * one.accuracy for w, (_, of_part) in zip(weight, graded, strict=True) if (one := of_part[index]))
            for index in range(len(systems))
        ]
        lines.append((name, "", str(total), [f"{mean:.3f}" for mean in means]))
    return lines
