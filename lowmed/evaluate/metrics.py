"""From scored completions to the figures of a result table."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lowmed import answer
from lowmed.evaluate.intervals import clustered, wilson
from lowmed.evaluate.score import score_rows
from lowmed.sample import Sample

FEW = 30  # a cell with fewer questions is shown, and marked
Row = Mapping[str, Any]


def prediction(sample: Sample, split: str, completion: str, tokens: int, finish_reason: str) -> dict[str, Any]:
    """One line of stored completions: all that is needed to score the completion again without model or images."""
    return {
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


def scored(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows with their verdicts by today's rules."""
    return list(score_rows(rows))


def answer_type(row: Row) -> str:
    """What form of answer a question has: `yes/no` and other closed questions apart."""
    if row["kind"] != "closed":
        return str(row["kind"])
    return "yes/no" if answer.is_yes_no(str(row["answer"])) else "closed, not yes/no"


STRATA: dict[str, Callable[[Row], str]] = {
    "kind": lambda row: str(row["kind"]),
    "modality": lambda row: str(row.get("modality") or ""),
    "answer_type": answer_type,
    "topic": lambda row: str(row.get("topic") or ""),
}


def metrics(rows: Sequence[Row]) -> dict[str, Any]:
    """The figures of scored rows: accuracies with intervals, how much could be read, and the same by stratum.

    `strict` counts only an answer in exactly one tag, as the rewards do; `lenient` reads what can be read without
    guessing. `wilson` takes questions as independent, `by_image` draws whole images. `macro` is the mean over a
    stratum's cells, each counted once, beside the micro mean over all questions.
    """
    result: dict[str, Any] = {"questions": len(rows), "images": len({row["group"] for row in rows})}
    groups = [row["group"] for row in rows]
    for name, field in (("strict", "strict_outcome"), ("lenient", "outcome")):
        right = correct_flags(rows, field)
        result[name] = {
            "accuracy": mean(right),
            "wilson": wilson(round(sum(right)), len(rows)),
            "by_image": clustered(right, groups),
        }
    tagged = [answer.extract(row["completion"], row["finish_reason"]).strict for row in rows]
    result["tagged"] = mean(tagged)
    result["unread"] = mean([row["outcome"] == "unread" for row in rows])
    result["truncated"] = mean([row["finish_reason"] == "length" for row in rows])
    for name in ("laterality", "polarity"):
        result[f"{name}_errors"] = mean([name in row["contradiction"] for row in rows])
    graded = [row["f1"] for row in rows if row["f1"] is not None]
    result["token_f1_open"] = mean(graded) if graded else None
    for stratum, key in STRATA.items():
        cells = {name: _cell(cell) for name, cell in strata(rows, key).items()}
        result[f"by_{stratum}"] = cells
        if cells:
            result[f"macro_{stratum}"] = {
                name: mean([cell[name] for cell in cells.values()]) for name in ("strict", "lenient")
            }
    return result


def strata(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """The rows by what `key` says of them; rows of which it says nothing are left out."""
    cells: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if key(row):
            cells[key(row)].append(row)
    return dict(sorted(cells.items()))


def correct_flags(rows: Iterable[Row], field: str = "outcome") -> list[float]:
    """1 for each right row, 0 for each other one."""
    return [float(row[field] == "correct") for row in rows]


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value."""
    return sum(values) / len(values)


def _cell(rows: Sequence[Row]) -> dict[str, Any]:
    right = correct_flags(rows)
    return {
        "questions": len(rows),
        "strict": mean(correct_flags(rows, "strict_outcome")),
        "lenient": mean(right),
        "wilson": wilson(round(sum(right)), len(rows)),
        "few": len(rows) < FEW,
    }
