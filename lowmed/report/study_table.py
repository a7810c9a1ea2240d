"""The table of a study for the terminal."""

from rich.markup import escape
from rich.table import Table

from lowmed.report import study_rows
from lowmed.report.console import NOTICE, console, interval
from lowmed.study.records import StudyRecord

WIDTH = 150


def show(record: StudyRecord) -> None:
    """Print accuracies and differences by source and split, each with its questions, images and seeds."""
    shown = console(WIDTH)
    shown.print(escape(f"{record.about}\n{record.grade} accuracy; digest of all inputs {record.digest}"))
    for part in study_rows.parts(record):
        shown.print(escape(f"\n{part.source}, {part.split}" + (f": {part.seen}" if part.seen else "")))
        if part.stamp:
            shown.print(escape(part.stamp))
        table = _table("arm", "prompts", "accuracy, by image", "each seed", "over seeds", "n", "images", "seeds")
        for row in part.accuracies:
            accuracy = f"{row.accuracy:.3f} {interval(row.by_image)}"
            spread = (study_rows.seeds_text(row), study_rows.over_seeds_text(row))
            _add(table, study_rows.label(row.arm), row.prompts, accuracy, *spread, *study_rows.counted(row))
        shown.print(table)
        if part.comparisons:
            head = (
                "comparison",
                "prompts",
                "difference, by image",
                "p",
                "p, Holm",
                "each seed",
                "n",
                "images",
                "seeds",
            )
            table = _table(*head)
            for one in part.comparisons:
                prompts = one.prompts if one.first_prompts == one.prompts else f"{one.prompts} - {one.first_prompts}"
                difference = f"{one.difference:+.3f} {interval(one.by_image)}"
                p = (study_rows.p_text(one.p_by_image), study_rows.p_text(one.p_holm))
                mark = " (settings differ)" if one.settings_differ else ""
                counted = study_rows.counted(one)
                _add(table, one.label + mark, prompts, difference, *p, study_rows.seeds_text(one, "+"), *counted)
            shown.print(table)
    shown.print(escape(f"\nby image: {study_rows.BY_IMAGE}.\nover seeds: {study_rows.OVER_SEEDS}.\n{study_rows.TEST}."))
    shown.print(NOTICE)


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(escape(cell) for cell in cells))


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    return table
