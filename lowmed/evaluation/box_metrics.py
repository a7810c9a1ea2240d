"""Metrics of predicted boxes: overlap, right boxes, mean average precision, and two baselines without a model.

A box is right if it overlaps its own gold box by more than one half (IoU > 0.5). Models state no confidence, so the
precision-recall curve of a label is one point, and its average precision is precision x recall.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lowmed import answer
from lowmed.boxes import HIT, Box, matched, parse_boxes
from lowmed.evaluation.intervals import mean_interval
from lowmed.evaluation.records import BoxBaselines, BoxMetrics, Figure

Row = Mapping[str, Any]
RowBoxes = dict[str, float | None]


def count_boxes(parsed: str | None, question: answer.Question) -> RowBoxes | None:
    """The numbers of one answer about boxes; None for another kind of question, or without usable gold boxes.

    Args:
        parsed: the extracted answer, in pixels of the original image; None if it was not read.
        question: the question.
    """
    gold = parse_boxes(question.golds[0])[0] if question.kind == "boxes" else None
    if gold is None:
        return None
    predicted = parse_boxes(parsed)[0] if parsed is not None else None
    overlap = matched(gold, predicted or ())
    width, height = question.image_size
    return {
        "gold": len(gold),
        "predicted": None if predicted is None else len(predicted),
        "iou": sum(overlap) / max(len(gold), len(predicted or ())) if gold else None,
        "right": _right(gold, predicted or ()),
        "outside": sum(_is_outside(box, width, height) for box in predicted or ()) if width else None,
    }


def box_metrics(rows: Iterable[Row]) -> BoxMetrics | None:
    """The box metrics of scored rows, with intervals by image; None without questions about boxes."""
    counted = [row for row in rows if row.get("boxes")]
    if not counted:
        return None
    with_boxes = [row for row in counted if row["boxes"]["gold"]]
    without = [row for row in counted if not row["boxes"]["gold"]]
    predicted = [row["boxes"]["predicted"] or 0 for row in counted]
    outside = [row["boxes"]["outside"] for row in counted]
    return BoxMetrics(
        questions=len(counted),
        with_boxes=len(with_boxes),
        read=_mean([float(row["boxes"]["predicted"] is not None) for row in counted], counted),
        iou=_mean([row["boxes"]["iou"] for row in with_boxes], with_boxes),
        recall=_share(with_boxes, "right", "gold"),
        precision=_share(counted, "right", "predicted"),
        mean_average_precision=_mean_average_precision(counted),
        none_right=_mean([float(row["boxes"]["predicted"] == 0) for row in without], without),
        outside=sum(outside) / sum(predicted) if sum(predicted) and None not in outside else None,
        baselines=_baselines(with_boxes),
    )


def _baselines(rows: Sequence[Row]) -> BoxBaselines:
    """Two constant answers on the same questions; null where image sizes or training boxes are unknown."""
    complete: list[float] = []
    mean: list[float] = []
    for row in rows:
        gold = parse_boxes(str(row["answer"]))[0] or ()
        size = row.get("image_size")
        if size:
            complete.append(_iou(gold, [Box((0.0, 0.0, float(size[0]), float(size[1])))]))
            if row.get("prior"):
                relative = parse_boxes(str(row["prior"]))[0] or ()
                grid = row.get("box_grid") or (1000, 1000)
                mean.append(_iou(gold, [box.scaled(size[0] / grid[0], size[1] / grid[1]) for box in relative]))
    return BoxBaselines(
        complete_image=_mean(complete, rows) if len(complete) == len(rows) else None,
        mean_box=_mean(mean, rows) if len(mean) == len(rows) else None,
    )


def _iou(gold: Sequence[Box], predicted: Sequence[Box]) -> float:
    """Mean overlap of an answer that states no label, which counts for every label."""
    bare = [Box(box.corners) for box in gold]
    return sum(matched(bare, predicted)) / max(len(bare), len(predicted))


def _right(gold: Sequence[Box], predicted: Sequence[Box]) -> int:
    return sum(hit > 0 for hit in matched(gold, predicted, lambda _, overlap: float(overlap > HIT)))


def _mean_average_precision(rows: Sequence[Row]) -> float | None:
    """Mean over labels of precision x recall; None without gold boxes.

    A predicted box without a label has that of its question. In a question without gold boxes it counts for all labels.
    """
    gold_count: dict[str, int] = defaultdict(int)
    predicted_count: dict[str, int] = defaultdict(int)
    right: dict[str, int] = defaultdict(int)
    unlabeled = 0
    for row in rows:
        gold = parse_boxes(str(row["answer"]))[0] or ()
        predicted = parse_boxes(row["parsed"])[0] or () if row["parsed"] is not None else ()
        labels = {_label(box) for box in gold}
        only = next(iter(labels)) if len(labels) == 1 else None
        for label in labels:
            gold_count[label] += sum(_label(box) == label for box in gold)
            of_label = [box for box in predicted if only is not None or _label(box) == label]
            right[label] += _right([box for box in gold if _label(box) == label], of_label)
        for box in predicted:
            if not labels and not box.label:
                unlabeled += 1
            else:
                predicted_count[_label(box) if only is None else only] += 1
    if not gold_count:
        return None
    scores = [
        right[label] / count * right[label] / (predicted_count[label] + unlabeled)
        if predicted_count[label] + unlabeled
        else 0.0
        for label, count in gold_count.items()
    ]
    return sum(scores) / len(scores)


def _label(box: Box) -> str:
    return answer.normalize(box.label)


def _is_outside(box: Box, width: int, height: int) -> bool:
    left, top, right, bottom = box.corners
    return min(left, top) < 0 or right > width or bottom > height


def _share(rows: Sequence[Row], right: str, of: str) -> Figure | None:
    """Right boxes as a share of all boxes of the questions; each box is one unit."""
    units = [(float(unit < row["boxes"][right]), row) for row in rows for unit in range(round(row["boxes"][of] or 0))]
    return _mean([value for value, _ in units], [row for _, row in units])


def _mean(values: Sequence[float], rows: Sequence[Row]) -> Figure | None:
    if not values:
        return None
    groups = [str(row.get("group") or row["id"]) for row in rows]
    return Figure(value=sum(values) / len(values), by_image=mean_interval(values, groups))
