"""The page of several runs: accuracies side by side, paired differences from the first run, curves, settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lowmed.evaluation.paired_tests import holm
from lowmed.evaluation.records import Accuracy, Comparison, EvalReport, StratumDifference
from lowmed.report import charts
from lowmed.report.console import NOTICE
from lowmed.report.interval_rows import Bar, IntervalRow, Section, style
from lowmed.report.run_report import RunReport, settings
from lowmed.report.templates import render as render_template
from lowmed.report.verdict import Verdict, against

STRATA = ("split", "kind", "modality", "topic")
CURVES = {"Reward": "reward", "Loss": "loss", "Completion length (tokens)": "tokens", "Seconds per step": "seconds"}


@dataclass(frozen=True)
class ComparedRuns:
    """What the page shows.

    Attributes:
        runs: content of each run by its name on the page; the first one is the reference.
        comparisons: differences from the first run, by run.
        refused: why a run is not compared, by run.
    """

    runs: Mapping[str, RunReport]
    comparisons: Mapping[str, Comparison]
    refused: Mapping[str, str]


def render(compared: ComparedRuns) -> str:
    """Render the page of several runs."""
    names = list(compared.runs)
    return render_template(
        "comparison.html",
        names=names,
        runs=compared.runs,
        verdict=verdict(compared),
        sections=_sections(compared.runs),
        systems=[("base", "base"), *((name, style(name, at)) for at, name in enumerate(names))],
        charts=_curves(compared.runs),
        tables={name: _strata(comparison) for name, comparison in compared.comparisons.items()},
        comparisons=compared.comparisons,
        differing=_differing(compared.runs),
        notice=NOTICE,
    )


def verdict(compared: ComparedRuns) -> Verdict:
    """Each run against the first one, in a sentence a data source; Holm corrects over all of them."""
    first = next(iter(compared.runs))
    pairs = [
        (name, source, part)
        for name, comparison in compared.comparisons.items()
        for source, part in comparison.sources.items()
        if part.all
    ]
    p_values = holm({f"{name} {source}": part.all.p_by_image for name, source, part in pairs if part.all})
    findings, problems = [], [f"{name} is not compared with {first}: {why}" for name, why in compared.refused.items()]
    for name, source, part in pairs:
        change = part.all
        if change is None:
            continue
        text = against(change.first, change.second, change, p_values[f"{name} {source}"])
        findings.append(f"{name} against {first} on {change.questions:,} questions of {source}: {text}")
        problems += [f"{name} and {first} on {source} differ: {text}." for text in part.differences]
    return Verdict(tuple(findings), tuple(problems))


def _sections(runs: Mapping[str, RunReport]) -> list[Section]:
    """The accuracy of each run's tuned model, and of the base of the first run that has it, by source and split."""
    parts: dict[tuple[str, str], dict[str, EvalReport]] = {}
    for name, content in runs.items():
        for report in content.evaluations.values():
            for split in report.splits:
                parts.setdefault((report.source, split), {})[name] = report
    return [Section(f"{source}, {split}", (_row(split, reports, runs),)) for (source, split), reports in parts.items()]


def _row(split: str, reports: Mapping[str, EvalReport], runs: Mapping[str, RunReport]) -> IntervalRow:
    bars: list[Bar | None] = []
    bases = (report.splits[split].results.get("base") for report in reports.values())
    if base := next((result.lenient for result in bases if result and result.lenient), None):
        bars.append(_bar("base", "base", base))
    for at, name in enumerate(runs):
        tuned = reports[name].splits[split].results.get("tuned") if name in reports else None
        if tuned and tuned.lenient:
            bars.append(_bar(name, style(name, at), tuned.lenient))
    part = next(iter(reports.values())).splits[split]
    return IntervalRow("all, accuracy", part.questions, False, tuple(bars), part.no_image_floor, overall=True)


def _bar(name: str, of_class: str, result: Accuracy) -> Bar:
    return Bar(name, of_class, result.accuracy, *result.by_image)


def _curves(runs: Mapping[str, RunReport]) -> list[charts.Chart]:
    result = []
    dev = {name: [(row["step"], row["accuracy"]) for row in content.dev] for name, content in runs.items()}
    if any(dev.values()):
        result.append(charts.line_chart("Dev accuracy", dev, window=1))
    for title, metric in CURVES.items():
        lines = {name: charts.points(content.metrics, metric) for name, content in runs.items()}
        if any(lines.values()):
            result.append(charts.line_chart(title, lines))
    return result


def _strata(comparison: Comparison) -> list[tuple[str, StratumDifference]]:
    rows = []
    for source, part in comparison.sources.items():
        for stratum in STRATA:
            cells: Mapping[str, StratumDifference] = getattr(part, f"by_{stratum}")
            rows += [(f"{source}: {stratum} {name}", cell) for name, cell in cells.items() if len(cells) > 1]
        rows += [
            (f"{source}: {column} {name}", cell)
            for column, by_value in part.by_strata.items()
            for name, cell in by_value.items()
        ]
    return rows


def _differing(runs: Mapping[str, RunReport]) -> list[tuple[str, list[str]]]:
    """Keys of the recipes whose values differ, with the value of each run."""
    values: Sequence[Mapping[str, str]] = [
        {key: value for key, value, _ in settings(content.recipe)} for content in runs.values()
    ]
    keys = dict.fromkeys(key for one in values for key in one)
    rows = [(key, [one.get(key, "") for one in values]) for key in keys]
    return [(key, shown) for key, shown in rows if len(set(shown)) > 1]
