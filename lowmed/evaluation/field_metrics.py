"""Precision, recall and F1 of the fields of JSON answers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lowmed.answer import fields
from lowmed.answer.fields import Document, FieldCounts
from lowmed.evaluation.intervals import mean_interval
from lowmed.evaluation.records import FieldMetrics, FieldScores, Figure
from lowmed.evaluation.tree_similarity import tree_similarity

Row = Mapping[str, Any]
RowFields = dict[str, float | None]


def count_fields(text: str | None, golds: Iterable[str]) -> RowFields | None:
    """The counts of one JSON answer against the nearest gold answer; None if no gold answer is usable JSON.

    Args:
        text: the extracted answer; an answer that is missing or not JSON has no fields.
        golds: the acceptable gold answers.
    """
    predicted, _ = fields.parse(text) if text is not None else (None, "")
    usable = [document for document, _ in map(fields.parse, golds) if document is not None]
    if not usable:
        return None
    counted = [(_count(gold, predicted), gold) for gold in usable]
    counts, nearest = max(counted, key=lambda pair: pair[0].f_measure())
    return {
        "shared": counts.shared,
        "predicted": counts.predicted,
        "gold": counts.gold,
        "f1": counts.f_measure() if predicted else 0.0,
        "tree_similarity": tree_similarity(nearest, predicted),
    }


def _count(gold: Document, predicted: Document | None) -> FieldCounts:
    return fields.count(gold, predicted) if predicted else FieldCounts(0, 0, gold.leaves)


def field_metrics(rows: Iterable[Row]) -> FieldMetrics | None:
    """The field metrics of scored rows, with intervals by image; None without JSON answers."""
    counted = [(row["fields"], str(row.get("group") or row["id"])) for row in rows if row.get("fields")]
    if not counted:
        return None
    trees = [(counts["tree_similarity"], group) for counts, group in counted if counts["tree_similarity"] is not None]
    return FieldMetrics(
        documents=len(counted),
        micro=FieldScores(
            precision=_share(counted, right=("shared",), of=("predicted",)),
            recall=_share(counted, right=("shared",), of=("gold",)),
            f1=_share(counted, right=("shared", "shared"), of=("predicted", "gold")),
        ),
        mean=FieldScores(
            precision=_mean([(_ratio(counts, "predicted"), group) for counts, group in counted]),
            recall=_mean([(_ratio(counts, "gold"), group) for counts, group in counted]),
            f1=_mean([(_number(counts, "f1"), group) for counts, group in counted]),
        ),
        tree_similarity=_mean(trees) if trees else None,
        without_tree=len(counted) - len(trees),
    )


def _ratio(counts: RowFields, size: str) -> float:
    """Shared fields as a share of one side; without fields there, the F1, which is 1 if both sides are empty."""
    return _number(counts, "shared") / _number(counts, size) if _number(counts, size) else _number(counts, "f1")


def _share(counted: Sequence[tuple[RowFields, str]], right: Sequence[str], of: Sequence[str]) -> Figure:
    """Right fields of all documents as a share of all their fields; each field is one unit."""
    units = [
        (float(unit < sum(_number(counts, name) for name in right)), group)
        for counts, group in counted
        for unit in range(round(sum(_number(counts, name) for name in of)))
    ]
    return _mean(units) if units else Figure(value=0.0, by_image=(0.0, 0.0))


def _mean(values: Sequence[tuple[float, str]]) -> Figure:
    scores = [value for value, _ in values]
    return Figure(value=sum(scores) / len(scores), by_image=mean_interval(scores, [group for _, group in values]))


def _number(counts: RowFields, name: str) -> float:
    return counts[name] or 0.0
