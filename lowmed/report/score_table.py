"""The summary of `lowmed score` as a table for the terminal."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import ScoreMetrics, ScoreSummary
from lowmed.report import classification_table, eval_table
from lowmed.report.box_table import box_rows
from lowmed.report.console import FEW, NOTICE, console, interval
from lowmed.report.field_table import field_rows
from lowmed.report.report_rows import NOT_APPLICABLE, add_reports

WIDTH = 160
HEADINGS = ("", "n", "images", "accuracy", "strict", "most frequent", "chance", "unread", "truncated", "token F1")


def show(summary: ScoreSummary) -> None:
    """Print accuracies with intervals, next to the baselines, overall and by stratum."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True, min_width=len(heading))
    table.add_row("all", *_cells(summary))
    for stratum in ("kind", "modality"):
        cells: dict[str, ScoreMetrics] = getattr(summary, f"by_{stratum}")
        for name, cell in cells.items():
            tier = ", exact" if (stratum, name) == ("kind", "open") else ""
            table.add_row(f"  {escape(name)}{tier}{FEW if cell.few else ''}", *_cells(cell))
    for column, by_value in summary.by_strata.items():
        for name, cell in by_value.items():
            table.add_row(f"  {escape(f'{column} {name}')}{FEW if cell.few else ''}", *_cells(cell))
    shown = console(WIDTH)
    if summary.field_names:
        shown.print(f"fields  {escape('  '.join(f'{field}={name}' for field, name in summary.field_names.items()))}")
        shown.print("        recognized or set with --map\n")
    shown.print(table)
    if summary.open_tiers:
        tiers_table = Table(box=None, pad_edge=False, show_header=False)
        eval_table.add_tiers(tiers_table, [summary.open_tiers])
        shown.print()
        shown.print(tiers_table)
    if summary.boxes:
        shown.print(f"\n{summary.boxes.questions} questions about boxes, 95 % intervals by image")
        for label, by_box in box_rows([summary.boxes]):
            shown.print(f"  {escape(f'{label:<44}')}{by_box[0]}")
    if summary.fields:
        shown.print(f"\nfields of {summary.fields.documents} JSON answers, 95 % intervals by image")
        for label, by_field in field_rows([summary.fields]):
            shown.print(f"  {escape(f'{label:<36}')}{by_field[0]}")
    if summary.reports:
        reports_table = Table(box=None, pad_edge=False, show_header=False)
        add_reports(reports_table, [summary.reports])
        shown.print()
        shown.print(reports_table)
    if summary.reasoning:
        cells_table = Table(box=None, pad_edge=False, show_header=False)
        eval_table.add_reasoning(cells_table, [summary.reasoning])
        shown.print()
        shown.print(cells_table)
    if summary.classification:
        shown.print()
        classification_table.show(shown, {"": ([summary.classification], None)}, [""])
    if warning := eval_table.few_strata(summary.by_strata):
        shown.print(f"\n{escape(warning)}")
    shown.print("\naccuracy: every answer that can be read without guessing. strict: answers in exactly one tag.")
    if summary.reports:
        shown.print(f"Accuracy {NOT_APPLICABLE}.")
    shown.print("most frequent: the most frequent gold answer or letter of each kind in these rows. chance: guessing.")
    if summary.independent_rows:
        rows = f"{summary.independent_rows} of {summary.n} rows"
        shown.print(f"Intervals: 95 %. {rows} name no image or patient (field `group`) and are taken as independent;")
        shown.print("if questions share images, the intervals are too narrow.")
    else:
        shown.print("Intervals: 95 %, for questions that share images (field `group`).")
    shown.print("(few): under 30 questions or 10 images.")
    shown.print(NOTICE)


def _cells(metrics: ScoreMetrics) -> tuple[str, ...]:
    return (
        str(metrics.n),
        str(metrics.images),
        _share(metrics.accuracy, metrics.accuracy_by_image),
        _share(metrics.strict_accuracy, metrics.strict_accuracy_by_image),
        *(_share(share) for share in (metrics.most_frequent_gold, metrics.chance)),
        *(_share(share) for share in (metrics.unread_rate, metrics.truncated_rate)),
        _share(metrics.token_f1, metrics.token_f1_by_image),
    )


def _share(share: float | None, bounds: Sequence[float] | None = None) -> str:
    if share is None:
        return "-"
    return f"{share:.3f}" if bounds is None else f"{share:.3f} {interval(bounds)}"
