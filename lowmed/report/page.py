"""The run's report page."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.evaluation import dev
from lowmed.evaluation.answerer import OpenImage
from lowmed.report import charts, eval_table, gallery, interval_rows, probability_table
from lowmed.report.box_table import box_rows
from lowmed.report.classification_table import figure_text, page_rows
from lowmed.report.console import NOTICE
from lowmed.report.field_table import field_rows
from lowmed.report.generalization_table import generalization
from lowmed.report.report_rows import NOT_APPLICABLE, control_cell, report_rows
from lowmed.report.run_report import RunReport, rewards, settings
from lowmed.report.templates import render as render_template
from lowmed.report.verdict import run_verdict

Row = Mapping[str, Any]
ROLLOUTS_SHOWN = 8


def render(content: RunReport, images: Mapping[str, OpenImage], data: Mapping[str, Any]) -> str:
    """Render the page of a run.

    Args:
        content: content of the run.
        images: how to open the images of a data source; images of other sources are left out.
        data: the summary of `run_data.data_summary`.
    """
    reports = list(content.evaluations.values())
    evaluations = [
        {
            "report": report,
            "title": eval_table.title(report),
            "systems": report.systems,
            "cases": gallery.cases(folder, images.get(report.source)),
            "has_images": report.source in images,
        }
        for folder, report in content.evaluations.items()
    ]
    systems = list(dict.fromkeys(system for report in reports for system in report.systems))
    sections = interval_rows.sections(reports)
    return render_template(
        "run.html",
        run=content.run,
        recipe=content.recipe,
        verdict=run_verdict(content, data),
        settings=settings(content.recipe),
        data=data,
        judged=any(report.judged for report in reports),
        rewards=rewards(content),
        rollouts=content.rollouts[:ROLLOUTS_SHOWN],
        charts=_charts(content.metrics, content.dev),
        dev_summary=dev.summary(content.dev, content.recipe.dev.keep),
        evaluations=evaluations,
        sections=sections,
        has_floor=any(row.floor is not None for section in sections for row in section.rows),
        systems=[(system, interval_rows.style(system, at)) for at, system in enumerate(systems)],
        style=interval_rows.style,
        filters=_filters(evaluations),
        generalization=generalization(reports) if len(evaluations) > 1 else [],
        control_labels=eval_table.CONTROL_LABELS,
        box_rows=box_rows,
        field_rows=field_rows,
        report_rows=report_rows,
        not_applicable=NOT_APPLICABLE,
        control_cell=control_cell,
        classification_rows=page_rows,
        figure_text=figure_text,
        probability_rows=probability_table.page_rows,
        tier_rows=eval_table.TIER_ROWS,
        few_strata=eval_table.few_strata,
        reasoning_rows=eval_table.REASONING_ROWS,
        conditional_rows=eval_table.CONDITIONAL_ROWS,
        notice=NOTICE,
    )


def curves(name: str, metrics: Sequence[Row], dev_rows: Sequence[Row]) -> str:
    """Render a page with the curves of a run alone.

    Args:
        name: name of the run.
        metrics: rows with a step.
        dev_rows: its evaluations during training.
    """
    return render_template("run_curves.html", name=name, charts=_charts(metrics, dev_rows))


def _charts(metrics: Sequence[Row], dev_rows: Sequence[Row]) -> list[charts.Chart]:
    return [*charts.dev_charts(dev_rows), *charts.training_charts(metrics)]


def _filters(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The filters of the cases with more than one value, and their values."""
    cases = [case for evaluation in evaluations for case in evaluation["cases"]]
    values = {"label": list(dict.fromkeys(label for case in cases for label in case["labels"]))}
    values |= {name: sorted({str(case.get(name) or "") for case in cases} - {""}) for name in gallery.FILTERS}
    return {name: shown for name, shown in values.items() if len(shown) > 1}
