"""Write the pass counts of a probe, which `data.difficulty` of a recipe reads."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lowmed.evaluation.pass_at_k import by_question, counts
from lowmed.files import to_jsonl, write_text

FILE = "difficulty.jsonl"


def write(file: Path, sampled: Iterable[Mapping[str, Any]]) -> None:
    """Write one line a question: `id`, `completions` sampled, how many are `correct` (strict) and `unread`.

    Args:
        file: the file to write; an earlier one is replaced.
        sampled: the scored rows of the sampled completions.

    Raises:
        SetupError: the disk is full or not writable.
    """
    questions = by_question(sampled)
    lines = [
        {
            "id": completions[0]["id"],
            "completions": len(completions),
            "correct": correct,
            "unread": sum(row["strict_outcome"] == "unread" for row in completions),
        }
        for completions, correct in zip(questions, counts(questions), strict=True)
    ]
    write_text(file, to_jsonl(lines, ascii_only=True))
