"""From scored completions to the metrics of a result table."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lowmed import answer
from lowmed.evaluation.box_metrics import box_metrics
from lowmed.evaluation.classification import classification
from lowmed.evaluation.field_metrics import field_metrics
from lowmed.evaluation.intervals import mean_interval, too_few, wilson
from lowmed.evaluation.open_tiers import open_tiers
from lowmed.evaluation.reasoning_cells import reasoning_cells
from lowmed.evaluation.records import Accuracy, Cell, Macro, Metrics, StoredCompletion
from lowmed.evaluation.report_metrics import report_metrics
from lowmed.evaluation.score import score_rows
from lowmed.sample import Sample

Row = Mapping[str, Any]


def prediction(sample: Sample, split: str, completion: str, tokens: int, finish_reason: str) -> StoredCompletion:
    """One line of stored completions: enough to score the completion again without model or images."""
    row: StoredCompletion = {
        "id": sample.id,
        "split": split,
        "kind": sample.kind,
        "question": sample.question,
        "options": list(sample.options),
        "answer": sample.answer,
        "group": sample.group,
        "images": list(sample.images),
        "modality": sample.modality,
        "topic": sample.topic,
        "completion": completion,
        "tokens": tokens,
        "finish_reason": finish_reason,
    }
    if sample.kind == "boxes":
        row |= {"image_size": list(sample.image_size), "box_grid": list(sample.box_grid)}
    return {**row, "strata": dict(sample.strata)} if sample.strata else row


def scored(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Grade the rows by the current answer rules."""
    return list(score_rows(rows))


def answer_type(row: Row) -> str:
    """The question kind, with `yes/no` apart from other closed questions."""
    if row["kind"] != "closed":
        return str(row["kind"])
    return "yes/no" if answer.is_yes_no(str(row["answer"])) else "closed, not yes/no"


STRATA: dict[str, Callable[[Row], str]] = {
    "kind": lambda row: str(row["kind"]),
    "modality": lambda row: str(row.get("modality") or ""),
    "answer_type": answer_type,
    "topic": lambda row: str(row.get("topic") or ""),
}


def metrics(rows: Sequence[Row]) -> Metrics:
    """Accuracies with intervals, shares of unread and truncated completions, and the same by stratum.

    `strict` counts only an answer in exactly one tag, as the rewards do. `lenient` counts every answer that can be
    read without guessing. Neither includes reports. `macro` is the mean over a stratum's cells, each counted once.
    """
    answered = right_or_wrong(rows)
    graded = [row for row in rows if row["f1"] is not None]
    f1 = [row["f1"] for row in graded]
    by_kind_only: dict[str, Any] = {
        "boxes": box_metrics(rows),
        "fields": field_metrics(rows),
        "open_tiers": open_tiers(rows),
        "reports": report_metrics(rows),
        "classification": classification(rows, classification_columns(rows)),
    }
    cells = {
        name: {value: _cell(cell) for value, cell in strata(answered, key).items()} for name, key in STRATA.items()
    }
    return Metrics(
        questions=len(rows),
        images=len(set(groups_of(rows))),
        strict=_accuracy(answered, "strict_outcome"),
        lenient=_accuracy(answered, "outcome"),
        tagged=mean([answer.extract(row["completion"], row["finish_reason"]).strict for row in rows]),
        unread=mean([row["outcome"] == "unread" for row in rows]),
        truncated=mean([row["finish_reason"] == "length" for row in rows]),
        laterality_errors=mean(["laterality" in row["contradiction"] for row in rows]),
        polarity_errors=mean(["polarity" in row["contradiction"] for row in rows]),
        token_f1_open=mean(f1) if f1 else None,
        token_f1_open_by_image=mean_interval(f1, groups_of(graded)) if f1 else None,
        reasoning=reasoning_cells(answered),
        by_kind=cells["kind"],
        by_modality=cells["modality"],
        by_answer_type=cells["answer_type"],
        by_topic=cells["topic"],
        **{name: value for name, value in by_kind_only.items() if value},
        by_strata={
            column: {value: _cell(cell) for value, cell in by_value.items()}
            for column, key in strata_keys(answered).items()
            if len(by_value := strata(answered, key)) > 1
            or column != "source"  # a published part is of one source anyway
        },
        **{f"macro_{name}": _macro(list(by_value.values())) for name, by_value in cells.items() if by_value},
    )


def strata_keys(rows: Iterable[Row]) -> dict[str, Callable[[Row], str]]:
    """Column -> its value in a row, for the columns of the user's choice."""

    def value_of(column: str) -> Callable[[Row], str]:
        return lambda row: str((row.get("strata") or {}).get(column, ""))

    return {column: value_of(column) for column in sorted({name for row in rows for name in row.get("strata") or {}})}


def classification_columns(rows: Iterable[Row]) -> dict[str, Callable[[Row], str]]:
    """Column -> its value in a row, for the columns by which yes/no questions are shown as a test."""
    return {name: STRATA[name] for name in ("modality", "topic")} | strata_keys(rows)


def strata(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Group the rows by `key`; rows with an empty key are left out."""
    cells: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if key(row):
            cells[key(row)].append(row)
    return dict(sorted(cells.items()))


def right_or_wrong(rows: Iterable[Row]) -> list[Row]:
    """The rows whose answers are right or wrong: all but reports, which have a similarity to their reference."""
    return [row for row in rows if row["kind"] != "report"]


def correct_flags(rows: Iterable[Row], field: str = "outcome") -> list[float]:
    """1.0 for each correct row, else 0.0."""
    return [float(row[field] == "correct") for row in rows]


def groups_of(rows: Iterable[Row]) -> list[str]:
    """The image or patient of each row."""
    return [str(row["group"]) for row in rows]


def is_few(rows: Sequence[Row]) -> bool:
    """Whether the rows are too few for a stable figure."""
    return too_few(groups_of(rows))


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value."""
    return sum(values) / len(values)


def _accuracy(rows: Sequence[Row], field: str) -> Accuracy | None:
    if not rows:
        return None
    correct = correct_flags(rows, field)
    return Accuracy(
        accuracy=mean(correct),
        by_image=mean_interval(correct, groups_of(rows)),
        wilson=wilson(round(sum(correct)), len(rows)),
    )


def _cell(rows: Sequence[Row]) -> Cell:
    correct = correct_flags(rows)
    return Cell(
        questions=len(rows),
        images=len(set(groups_of(rows))),
        strict=mean(correct_flags(rows, "strict_outcome")),
        lenient=mean(correct),
        by_image=mean_interval(correct, groups_of(rows)),
        few=is_few(rows),
    )


def _macro(cells: Sequence[Cell]) -> Macro:
    return Macro(strict=mean([cell.strict for cell in cells]), lenient=mean([cell.lenient for cell in cells]))
