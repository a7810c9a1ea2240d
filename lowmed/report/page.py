"""The run's report: one HTML file that needs nothing else, and fetches nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from lowmed.evaluate.answerer import OpenImage
from lowmed.evaluate.controls import CONTROLS
from lowmed.report import eval_table, gallery, plots
from lowmed.report.record import Record, rewards, settings

TEMPLATE = Path(__file__).parent / "page.html.jinja"
ROLLOUTS_SHOWN = 8


def render(record: Record, images: Mapping[str, OpenImage], data: Mapping[str, Any]) -> str:
    """The page as one text. Every text of a model or of data is escaped; no script is in it, and none may run.

    Args:
        record: of the run.
        images: how the images of a data source are opened; those of other sources are left out.
        data: what `run_data.told` says of the run's data.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["interval"] = eval_table.interval
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    evaluations = [
        {
            "report": report,
            "title": eval_table.title(report),
            "people": list(next(iter(report["splits"].values()))["results"]),
            "cases": gallery.cases(folder, images.get(report["source"])),
            "pictures": report["source"] in images,
        }
        for folder, report in record.evaluations.items()
    ]
    return template.render(
        run=record.run,
        recipe=record.recipe,
        settings=settings(record.recipe),
        data=data,
        judged=any(report["judged"] for report in record.evaluations.values()),
        rewards=rewards(record),
        rollouts=record.rollouts[:ROLLOUTS_SHOWN],
        # Drawn by us from numbers alone; the names in the legends are those of our own metrics.
        plots=[Markup(drawing) for drawing in plots.curves(record.metrics).values()],  # noqa: S704
        evaluations=evaluations,
        generalisation=eval_table.generalisation(list(record.evaluations.values())) if len(evaluations) > 1 else [],
        controls=CONTROLS,
        control_labels=eval_table.CONTROL_LABELS,
        labels=gallery.LABELS,
        notice=eval_table.NOTICE,
    )
