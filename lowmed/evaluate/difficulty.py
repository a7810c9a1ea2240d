"""How often each question was answered rightly: questions that are always or never right teach GRPO nothing."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed.errors import DataError
from lowmed.evaluate.sampling import by_question, counts
from lowmed.run import write_text
from lowmed.sample import Sample

FILE = "difficulty.jsonl"
Row = Mapping[str, Any]


def write(file: Path, sampled: Iterable[Row]) -> None:
    """One line a question: `id`, `replies` drawn, how many of them `right` (strict) and `unread`."""
    questions = by_question(sampled)
    lines = [
        {
            "id": replies[0]["id"],
            "replies": len(replies),
            "right": right,
            "unread": sum(row["strict_outcome"] == "unread" for row in replies),
        }
        for replies, right in zip(questions, counts(questions), strict=True)
    ]
    write_text(file, "".join(json.dumps(line) + "\n" for line in lines))


def keep(samples: Sequence[Sample], file: Path) -> tuple[Sample, ...]:
    """The samples that were right at some times and wrong at others, and those that were never probed.

    Raises:
        DataError: the file is missing or damaged, is about other samples, or would leave none.
    """
    pass_counts = _read(file)
    if not any(sample.id in pass_counts for sample in samples):
        raise DataError(
            "none of the samples was probed", str(file), "probe the training data: lowmed probe MODEL --on DATA"
        )
    kept = tuple(sample for sample in samples if pass_counts.get(sample.id, True))
    if not kept:
        raise DataError("every question is always or never right", str(file), "train by SFT first, or take other data")
    return kept


def _read(file: Path) -> dict[str, bool]:
    """Whether each probed question was right at some times and wrong at others."""
    if not file.is_file():
        raise DataError("there is no such file", str(file), "lowmed probe MODEL --on DATA writes it")
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found[str(row["id"])] = 0 < int(row["right"]) < int(row["replies"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"the line is no pass count: {error}", f"{file}:{number}", "probe again") from error
    return found
