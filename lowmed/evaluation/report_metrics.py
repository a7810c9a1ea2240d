"""Similarity of written reports to reference reports, next to what two trivial texts reach on the same questions."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lowmed.evaluation.intervals import mean_interval
from lowmed.evaluation.records import Figure, ReportMetrics, ReportScores
from lowmed.evaluation.report_scores import RowReport, score_report

Row = Mapping[str, Any]


def report_metrics(rows: Iterable[Row]) -> ReportMetrics | None:
    """The metrics of scored rows of kind `report`, with intervals by image; None without reports."""
    reports = [row for row in rows if row.get("report")]
    if not reports:
        return None
    constants = [row.get("prior") for row in reports]
    others = exchanged_reports(reports)
    return ReportMetrics(
        reports=len(reports),
        reference_words=_mean_of([row["report"]["reference_words"] for row in reports]),
        without_findings=sum(row["report"]["f1"] is None for row in reports),
        written=_scores(reports, [row["report"] for row in reports]),
        constant=_scored(reports, constants) if all(constants) else None,
        exchanged=_scored(reports, others) if all(others) else None,
    )


def exchanged_reports(rows: Sequence[Row]) -> list[str | None]:
    """For each row the reference report of another group, of the same modality; None if there is none.

    The rows of a modality form one cycle, in the order of a digest of their ids, and each takes the report of the next
    group. So it does not depend on the order of the rows.
    """
    cycles: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: hashlib.sha256(str(row["id"]).encode()).hexdigest()):
        cycles[str(row.get("modality") or "")].append(row)
    by_row: dict[int, str] = {}
    for cycle in cycles.values():
        for index, row in enumerate(cycle):
            following = (cycle[(index + step) % len(cycle)] for step in range(1, len(cycle)))
            other = next((one for one in following if _group(one) != _group(row)), None)
            if other is not None:
                by_row[id(row)] = _references(other)[0]
    return [by_row.get(id(row)) for row in rows]


def _references(row: Row) -> list[str]:
    return [str(text) for text in row["answer"]] if isinstance(row["answer"], list) else [str(row["answer"])]


def _group(row: Row) -> str:
    return str(row.get("group") or row["id"])


def _scored(rows: Sequence[Row], texts: Sequence[Any]) -> ReportScores:
    """The scores of other texts on the same questions."""
    return _scores(rows, [score_report(str(text), _references(row)) for row, text in zip(rows, texts, strict=True)])


def _scores(rows: Sequence[Row], scores: Sequence[RowReport]) -> ReportScores:
    groups = [_group(row) for row in rows]

    def estimate(name: str) -> Figure | None:
        known = [(value, group) for one, group in zip(scores, groups, strict=True) if (value := one[name]) is not None]
        if not known:
            return None
        values, of_groups = [value for value, _ in known], [group for _, group in known]
        return Figure(value=_mean_of(values), by_image=mean_interval(values, of_groups))

    rouge, bleu = estimate("rouge_l"), estimate("google_bleu")
    if rouge is None or bleu is None:
        raise ValueError("a row has no ROUGE-L")
    return ReportScores(
        rouge_l=rouge,
        google_bleu=bleu,
        f1=estimate("f1"),
        precision=estimate("precision"),
        recall=estimate("recall"),
        words=_mean_of([one["words"] or 0.0 for one in scores]),
    )


def _mean_of(values: Sequence[float]) -> float:
    return sum(values) / len(values)
