"""A comparison as a table for the terminal."""

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.paired_tests import LEVEL
from lowmed.evaluation.records import (
    AurocDifference,
    Comparison,
    FigureDifference,
    PairedDifference,
    ScoreDifference,
    SourceComparison,
    StratumDifference,
)
from lowmed.evaluation.report_difference import main_difference
from lowmed.report.classification_table import NOT_DEFINED, difference_rows, difference_text
from lowmed.report.console import FEW, NOTICE, console, interval
from lowmed.report.report_rows import LABELS, NOT_APPLICABLE
from lowmed.report.report_rows import difference_rows as difference_of_reports

STRATA = ("split", "kind", "answer_type", "modality", "topic")
WIDTH = 140  # names of classes are long
TEXT_SHOWN = 200  # characters of a completion
EXAMPLES_SHOWN = 2


def show(comparison: Comparison) -> None:
    """Print the differences with their tests, by stratum, and examples that changed each way."""
    shown = console(WIDTH)
    shown.print(escape(f"A  {', '.join(comparison.first)}\nB  {', '.join(comparison.second)}"))
    shown.print(f"{comparison.grade} accuracy, B minus A, 95 % interval of the paired difference\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "n", "images", "A", "B", "B - A", "only A, B", "p", "McNemar", "n needed"):
        table.add_column(heading, justify="left" if not heading else "right")
    for source, part in comparison.sources.items():
        table.add_row(f"[bold]{escape(source)}[/bold]", *(_cells(part.all) if part.all else ("", "", NOT_APPLICABLE)))
        for stratum in STRATA:
            cells: dict[str, StratumDifference] = getattr(part, f"by_{stratum}")
            for name, cell in cells.items() if len(cells) > 1 else ():
                tier = ", exact" if name == "open" and stratum in ("kind", "answer_type") else ""
                label = f"  {stratum.replace('_', ' ')} {escape(name)}{tier}{FEW if cell.few else ''}"
                table.add_row(label, *_cells(cell))
        for column, by_value in part.by_strata.items():
            for name, cell in by_value.items():
                label = f"  {escape(f'{column} {name}')}{FEW if cell.few else ''}"
                table.add_row(label, *_cells(cell))
        for label, figure in _figures(part):
            table.add_row(f"  {escape(label)}", *_figure_cells(figure))
        if part.box_iou:
            table.add_row("  boxes, mean IoU", *_figure_cells(part.box_iou))
        for label, change in difference_of_reports(part.reports):
            table.add_row(f"  {escape(label)}", *_figure_cells(change))
        for split, changes in part.reports_by_split.items():
            name, change = main_difference(changes)
            table.add_row(f"    split {escape(split)}, {LABELS[name]}", *_figure_cells(change))
        for judged in part.judged:
            name = f"{judged.judge.model} ({judged.judge.rubric_digest})"
            table.add_row(f"  open, judged by {escape(name)}", *_cells(judged))
    shown.print(table)
    for source, part in comparison.sources.items():
        for line in _notes(source, part):
            shown.print(escape(line))
    shown.print("\nonly A, B: questions that only one of them answers correctly.")
    shown.print("p: exact sign-flip test over images; it decides. McNemar: exact, if questions were independent.")
    shown.print("n needed: questions for power 0.8, if the true difference is as large as the measured one, as many")
    shown.print("questions are discordant as the data allow (upper limit), and questions share images as here.")
    shown.print("(few): under 30 questions or 10 images.")
    shown.print(
        "Holm corrects over data sources; strata, figures of yes/no questions and choices, and judge scores are"
    )
    shown.print("not corrected for multiple tests. A figure without p has an interval only. p of the AUROC: DeLong.")
    shown.print(NOTICE)


def show_summary(comparison: Comparison) -> None:
    """Print the verdict on each data source, and its splits if it has several."""
    shown = console(WIDTH)
    shown.print(escape(f"A  {', '.join(comparison.first)}\nB  {', '.join(comparison.second)}"))
    shown.print(f"{comparison.grade} accuracy, B minus A, 95 % interval of the paired difference")
    for source, part in comparison.sources.items():
        for line in _notes(source, part, examples=0):
            shown.print(escape(line))
        for split, cell in part.by_split.items() if len(part.by_split) > 1 else ():
            figures = f"{cell.first:.3f} -> {cell.second:.3f}, {cell.difference:+.3f} {interval(cell.by_image)}"
            shown.print(escape(f"  {split}, n={cell.questions:,}{FEW if cell.few else ''}: {figures}"))
    shown.print(f"\nStrata, other tests and examples: --full. {NOTICE}")


def _figures(part: SourceComparison) -> list[tuple[str, PairedDifference | FigureDifference | None]]:
    """The figures of yes/no questions and of choice tasks."""
    both = part.classification
    yes_no = difference_rows(both.yes_no) if both and both.yes_no else []
    auroc = [("yes/no AUROC", part.auroc)] if part.auroc else []
    return [*yes_no, *auroc, *(row for task in (both.tasks if both else ()) for row in difference_rows(task))]


def _figure_cells(figure: PairedDifference | FigureDifference | None) -> tuple[str, ...]:
    if isinstance(figure, PairedDifference):
        return _cells(figure)
    if figure is None:
        return ("", "", "", "", NOT_DEFINED)
    values = (f"{figure.first:.3f}", f"{figure.second:.3f}", difference_text(figure))
    p = figure.p_delong if isinstance(figure, AurocDifference) else None
    p = figure.p_by_image if isinstance(figure, ScoreDifference) else p
    return (str(figure.questions), str(figure.images), *values, "-", "-" if p is None else _p(p), "-", "-")


def _notes(source: str, part: SourceComparison, examples: int = EXAMPLES_SHOWN) -> list[str]:
    lines = [f"\n{source}: {verdict(part.all, part.p_holm)}"] if part.all else []
    if part.reports:
        lines.append(f"\n{source}: {report_verdict(part.reports, part.p_holm if not part.all else None)}")
    if part.differences:
        lines.append("DIFFERENT SETTINGS: " + "; ".join(part.differences))
    for judged in part.judged:
        sentence = verdict(judged, judged.p_by_image, "uncorrected")
        left_out = f"; {judged.no_verdict} open questions without a verdict on one side are left out"
        lines.append(f"by the judge {judged.judge.model}: {sentence}{left_out if judged.no_verdict else ''}")
    if part.judges_differ:
        lines.append(part.judges_differ)
    for change, changed in (("to correct", part.flipped.to_correct), ("to incorrect", part.flipped.to_incorrect)):
        for example in changed[:examples]:
            lines.append(f"  {change}  {example.id}  {example.question}")
            lines.append(f"    gold {example.answer}   A: {_short(example.first)}")
            lines.append(f"    B: {_short(example.second)}")
    return lines


def verdict(result: PairedDifference, p: float, correction: str = "Holm") -> str:
    """The result of the comparison in one sentence.

    Args:
        result: the difference.
        p: the p value that decides.
        correction: how p was corrected.
    """
    low, high = result.by_image
    figures = f"{result.difference:+.3f} {interval(result.by_image)}, p {_p(p)} by image ({correction})"
    if p < LEVEL and not low <= 0 <= high:
        return f"{'B' if result.difference > 0 else 'A'} is better: {figures}"
    return f"no significant difference: {figures}{_advice(result)}"


def report_verdict(differences: Mapping[str, ScoreDifference], p: float | None = None) -> str:
    """The result of the comparison of reports in one sentence, by the figure that decides.

    Args:
        differences: the figures.
        p: the corrected p value; None leaves that of the figure uncorrected.
    """
    name, change = main_difference(differences)
    correction, decides = ("uncorrected", change.p_by_image) if p is None else ("Holm", p)
    low, high = change.by_image
    figures = f"{change.difference:+.3f} {interval(change.by_image)} {LABELS[name]}, p {_p(decides)} ({correction})"
    if decides < LEVEL and not low <= 0 <= high:
        return f"{'B' if change.difference > 0 else 'A'} writes better reports: {figures}"
    return f"no significant difference of the reports: {figures}"


def _advice(result: PairedDifference) -> str:
    if result.questions_needed:
        return f"; if the true difference is this large, finding it takes about {result.questions_needed:,} questions"
    if result.difference == 0:
        return ""
    return (
        f"; too few data to say how many questions would do ({result.questions} questions on {result.images} images, "
        f"{result.only_first + result.only_second} discordant)"
    )


def _cells(result: PairedDifference) -> tuple[str, ...]:
    return (
        str(result.questions),
        str(result.images),
        f"{result.first:.3f}",
        f"{result.second:.3f}",
        f"{result.difference:+.3f} {interval(result.by_image)}",
        f"{result.only_first}, {result.only_second}",
        _p(result.p_by_image),
        _p(result.p_mcnemar),
        f"{result.questions_needed:,}" if result.questions_needed else "-",
    )


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.2e}"


def _short(text: str | None) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= TEXT_SHOWN else flat[:TEXT_SHOWN] + " ..."
