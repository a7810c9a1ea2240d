"""Summary of scored completions: accuracies with intervals, baselines, unread and truncated shares."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lowmed import answer
from lowmed.evaluation.box_metrics import box_metrics
from lowmed.evaluation.classification import classification
from lowmed.evaluation.field_metrics import field_metrics
from lowmed.evaluation.intervals import Interval, mean_interval
from lowmed.evaluation.metrics import classification_columns, correct_flags, is_few, right_or_wrong, strata_keys
from lowmed.evaluation.open_tiers import open_tiers
from lowmed.evaluation.pass_at_k import guess_rate
from lowmed.evaluation.reasoning_cells import reasoning_cells
from lowmed.evaluation.records import ScoreMetrics, ScoreSummary
from lowmed.evaluation.report_metrics import report_metrics
from lowmed.evaluation.score import is_truncated, question_of_row

Row = Mapping[str, Any]
_OUTCOMES = ("correct", "incorrect", "unread")


def summarize(scored: Iterable[Row]) -> ScoreSummary:
    """Metrics of scored rows: overall, by kind and by modality. Rows without `group` are taken as independent."""
    listed = list(scored)
    rows = [{**row, "group": str(row.get("group") or f"row {row.get('id')}")} for row in listed]
    return ScoreSummary(
        rules_version=answer.RULES_VERSION,
        independent_rows=sum(not row.get("group") for row in listed),
        **dict(_metrics(rows)),
        reasoning=reasoning_cells(right_or_wrong(rows)),
        classification=classification(rows, classification_columns(rows)),
        by_kind=_by(rows, lambda row: str(row["kind"])),
        by_modality=_by(rows, lambda row: str(row.get("modality") or "")),
        by_strata={column: _by(rows, key) for column, key in strata_keys(rows).items()},
    )


def _by(rows: Sequence[Row], key: Callable[[Row], str]) -> dict[str, ScoreMetrics]:
    cells: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if key(row):
            cells[key(row)].append(row)
    return {name: _metrics(cells[name]) for name in sorted(cells)}


def _metrics(rows: Sequence[Row]) -> ScoreMetrics:
    answered = right_or_wrong(rows)
    lenient, strict = Counter(row["outcome"] for row in rows), Counter(row["strict_outcome"] for row in rows)
    graded = [row for row in rows if row["f1"] is not None]
    f1 = [row["f1"] for row in graded]
    flags = Counter(flag for row in rows for flag in row["contradiction"])

    return ScoreMetrics(
        n=len(rows),
        images=len({row["group"] for row in rows}),
        outcomes={name: lenient[name] for name in _OUTCOMES},
        strict_outcomes={name: strict[name] for name in _OUTCOMES},
        accuracy=_share(sum(correct_flags(answered)), answered),
        accuracy_by_image=_interval(correct_flags(answered), answered),
        strict_accuracy=_share(sum(correct_flags(answered, "strict_outcome")), answered),
        strict_accuracy_by_image=_interval(correct_flags(answered, "strict_outcome"), answered),
        most_frequent_gold=_share(_most_frequent_gold(answered), answered),
        chance=_share(sum(map(_guess_rate, answered)), answered),
        unread_rate=_share(lenient["unread"], rows),
        truncated_rate=_share(sum(is_truncated(row) for row in rows), rows),
        token_f1=sum(f1) / len(f1) if f1 else None,
        token_f1_by_image=_interval(f1, graded),
        laterality_error_rate=_share(flags["laterality"], rows),
        polarity_error_rate=_share(flags["polarity"], rows),
        few=is_few(rows),
        boxes=box_metrics(rows),
        fields=field_metrics(rows),
        open_tiers=open_tiers(rows),
        reports=report_metrics(rows),
    )


def _share(count: float, rows: Sequence[Row]) -> float | None:
    return count / len(rows) if rows else None


def _interval(values: Sequence[float], rows: Sequence[Row]) -> Interval | None:
    return mean_interval(values, [row["group"] for row in rows]) if rows else None


def _guess_rate(row: Row) -> float:
    return guess_rate({"options": (), **row})


def _most_frequent_gold(rows: Sequence[Row]) -> int:
    """How many questions the most frequent gold answer of each kind gets right.

    For choices it is the larger of the most frequent letter and the most frequent text.
    """
    by_kind: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in rows:
        question = question_of_row(row, str(row.get("id")))
        answers = {("text", answer.normalize(gold)) for gold in question.golds}
        if question.kind == "choice":
            answers |= {("letter", str(question.options.index(gold))) for gold in question.golds}
        by_kind[question.kind].update(answers)
    return sum(max(counts.values()) for counts in by_kind.values())
