"""The run's report page: one self-contained HTML file that fetches nothing."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from lowmed.evaluation import dev
from lowmed.evaluation.answerer import OpenImage
from lowmed.report import eval_table, gallery, plots, probability_table
from lowmed.report.box_table import box_rows
from lowmed.report.classification_table import figure_text, page_rows
from lowmed.report.console import NOTICE, interval
from lowmed.report.escape import CONTENT_SECURITY_POLICY
from lowmed.report.field_table import field_rows
from lowmed.report.generalization_table import generalization
from lowmed.report.report_rows import NOT_APPLICABLE, control_cell, report_rows
from lowmed.report.run_report import RunReport, rewards, settings

TEMPLATE = Path(__file__).parent / "page.html.jinja"
ROLLOUTS_SHOWN = 8


def render(content: RunReport, images: Mapping[str, OpenImage], data: Mapping[str, Any]) -> str:
    """Render the page. All text of models and data is escaped; the page has no script and its policy forbids any.

    Args:
        content: content of the run.
        images: how to open the images of a data source; images of other sources are left out.
        data: the summary of `run_data.data_summary`.
    """
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
    drawings = {**plots.dev_curves(content.dev), **plots.curves(content.metrics)}
    return _template().render(
        content_security_policy=CONTENT_SECURITY_POLICY,
        run=content.run,
        recipe=content.recipe,
        settings=settings(content.recipe),
        data=data,
        judged=any(report.judged for report in content.evaluations.values()),
        rewards=rewards(content),
        rollouts=content.rollouts[:ROLLOUTS_SHOWN],
        # Safe: drawn from numbers, with the names of our own metrics in the legends.
        plots=[Markup(drawing) for drawing in drawings.values()],  # noqa: S704
        dev_summary=dev.summary(content.dev, content.recipe.dev.keep),
        evaluations=evaluations,
        generalization=generalization(list(content.evaluations.values())) if len(evaluations) > 1 else [],
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
        labels=gallery.LABELS,
        notice=NOTICE,
    )


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["interval"] = interval
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
