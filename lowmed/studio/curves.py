"""Curves of a run while it is training."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.report import charts
from lowmed.report.templates import render
from lowmed.studio.markup import untemplated


def draw(metrics: Sequence[Mapping[str, Any]], dev: Sequence[Mapping[str, Any]]) -> str:
    """All figures with recorded values, as on the page of a report; "" without any."""
    figures = [*charts.dev_charts(dev), *charts.training_charts(metrics)]
    return untemplated(render("curves.html", charts=figures)) if figures else ""
