"""Accuracies of the parts of an evaluation as rows of a chart, one mark a system."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lowmed.evaluation.records import Accuracy, Cell, EvalReport, Figure, Metrics, SplitReport

STRATA = ("kind", "modality", "topic")
MAX_CELLS = 16  # of a stratum; one with more is only in the tables
STYLES = {"base": "base", "tuned": "tuned"}


@dataclass(frozen=True)
class Bar:
    """The figure of one system, from 0 to 1, and its 95 % interval; `style` is a class of the style sheet."""

    name: str
    style: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalRow:
    """One row: the questions, and a mark for each system that has the figure.

    `floor` is the answer-prior baseline, None where it is unknown; `overall`: of all questions of a split.
    """

    label: str
    questions: int
    few: bool
    bars: tuple[Bar | None, ...]
    floor: float | None = None
    overall: bool = False


@dataclass(frozen=True)
class Section:
    """The rows of one split."""

    title: str
    rows: tuple[IntervalRow, ...]


def sections(reports: Sequence[EvalReport]) -> list[Section]:
    """The rows of each split of each evaluation."""
    result = []
    for report in reports:
        for split, part in report.splits.items():
            seen = f", {part.seen}" if part.seen and part.seen != "seen in training" else ""
            rows = _rows(part, report.systems)
            result.append(Section(f"{report.source}, {split}{seen}: {part.images:,} images", tuple(rows)))
    return result


def style(system: str, at: int = 0) -> str:
    """The class of the style sheet with the color of a system.

    Args:
        system: base, tuned, endpoint, or the name of a run.
        at: position among several of them.
    """
    return STYLES.get(system, f"s{at % 6}")


def _rows(part: SplitReport, systems: Sequence[str]) -> list[IntervalRow]:
    results = {system: part.results[system] for system in systems}
    rows = []
    if any(result.lenient for result in results.values()):
        accuracies = {system: result.lenient for system, result in results.items()}
        of_accuracy = tuple(_accuracy(system, one, at) for at, (system, one) in enumerate(accuracies.items()))
        rows.append(IntervalRow("all, accuracy", part.questions, False, of_accuracy, part.no_image_floor, overall=True))
        for stratum in STRATA:
            cells = {system: getattr(result, f"by_{stratum}") for system, result in results.items()}
            rows += _cells(stratum, cells)
        for column in next(iter(results.values())).by_strata:
            rows += _cells(column, {system: result.by_strata.get(column, {}) for system, result in results.items()})
    return rows + _scores(results)


def _cells(stratum: str, cells: Mapping[str, Mapping[str, Cell]]) -> list[IntervalRow]:
    first = next(iter(cells.values()))
    if not 2 <= len(first) <= MAX_CELLS:
        return []
    return [
        IntervalRow(
            f"{stratum} {name}",
            cell.questions,
            cell.few,
            tuple(
                Bar(system, style(system, at), by_name[name].lenient, *by_name[name].by_image)
                for at, (system, by_name) in enumerate(cells.items())
                if name in by_name
            ),
        )
        for name, cell in first.items()
    ]


def _scores(results: Mapping[str, Metrics]) -> list[IntervalRow]:
    """Written reports and boxes, whose main figure is not an accuracy."""
    reports = {system: result.reports for system, result in results.items()}
    boxes = {system: result.boxes for system, result in results.items()}
    rows = []
    if counted := next((one.reports for one in reports.values() if one), 0):
        for label, name in (("findings F1 of reports", "f1"), ("ROUGE-L of reports", "rouge_l")):
            figures = {system: getattr(one.written, name) if one else None for system, one in reports.items()}
            rows += _figures(label, counted, figures)
    if counted := next((one.with_boxes for one in boxes.values() if one), 0):
        overlaps = {system: one.iou if one else None for system, one in boxes.items()}
        rows += _figures("mean IoU of boxes", counted, overlaps)
    return rows


def _figures(label: str, questions: int, figures: Mapping[str, Figure | None]) -> list[IntervalRow]:
    bars = tuple(
        Bar(system, style(system, at), one.value, *one.by_image) if one else None
        for at, (system, one) in enumerate(figures.items())
    )
    return [IntervalRow(label, questions, False, bars)] if any(bars) else []


def _accuracy(system: str, result: Accuracy | None, at: int) -> Bar | None:
    return Bar(system, style(system, at), result.accuracy, *result.by_image) if result else None
