"""From scored replies to the figures of a result table."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lowmed import answer
from lowmed.evaluate.intervals import clustered, wilson
from lowmed.evaluate.score import score_rows
from lowmed.sample import Sample

FEW = 30  # a cell with fewer questions is shown, and marked


def prediction(sample: Sample, split: str, completion: str, tokens: int, finish_reason: str) -> dict[str, Any]:
    """One line of predictions.jsonl: all that is needed to score the reply again without model or images."""
    return {
        "id": sample.id,
        "split": split,
        "kind": sample.kind,
        "question": sample.question,
        "options": list(sample.options),
        "answer": sample.answer,
        "group": sample.group,
        "modality": sample.modality,
        "topic": sample.topic,
        "completion": completion,
        "tokens": tokens,
        "finish_reason": finish_reason,
    }


def figures(predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of one split: accuracies with intervals, how much could be read, and the same by stratum.

    `strict` counts only an answer in exactly one tag, as the rewards do; `lenient` reads what can be read without
    guessing. `wilson` takes questions as independent, `by_image` draws whole images.
    """
    rows = list(score_rows(predictions))
    tagged = [answer.find(row["completion"], row["finish_reason"]).strict for row in rows]
    found: dict[str, Any] = {"questions": len(rows), "images": len({row["group"] for row in rows})}
    for name, field in (("strict", "strict_outcome"), ("lenient", "outcome")):
        right = [row[field] == "correct" for row in rows]
        found[name] = {
            "accuracy": sum(right) / len(rows),
            "wilson": wilson(sum(right), len(rows)),
            "by_image": clustered([float(each) for each in right], [row["group"] for row in rows]),
        }
    found["tagged"] = sum(tagged) / len(rows)
    found["unread"] = sum(row["outcome"] == "unread" for row in rows) / len(rows)
    found["truncated"] = sum(row["finish_reason"] == "length" for row in rows) / len(rows)
    for stratum in ("kind", "modality", "topic"):
        found[f"by_{stratum}"] = _strata(rows, stratum)
    return found


def _strata(rows: Iterable[Mapping[str, Any]], field: str) -> dict[str, dict[str, Any]]:
    cells: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row[field]:
            cells[row[field]].append(row["strict_outcome"] == "correct")
    return {
        name: {
            "questions": len(right),
            "strict": sum(right) / len(right),
            "wilson": wilson(sum(right), len(right)),
            "few": len(right) < FEW,
        }
        for name, right in sorted(cells.items())
    }
