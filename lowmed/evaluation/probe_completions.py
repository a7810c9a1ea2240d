"""The sampled completions of a probe by their use: which are right or wrong in full form, and which are neither."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lowmed import prompt
from lowmed.errors import RunError
from lowmed.evaluation import results_folder
from lowmed.evaluation.controls import SAMPLED
from lowmed.evaluation.metrics import scored
from lowmed.evaluation.pass_at_k import by_question
from lowmed.evaluation.reasoning_cells import reasoning_outcome
from lowmed.prompt import CompletionFormat
from lowmed.rewards.format import Format
from lowmed.sample import Sample

Row = Mapping[str, Any]
Use = Literal[
    "right", "wrong", "truncated", "not in full form", "unread", "reasoning comes to another answer", "free text"
]
ByUse = Mapping[Use, Sequence[Row]]


def sampled_by_use(folder: Path) -> list[ByUse]:
    """The sampled completions of each question of a probe, by their use.

    Args:
        folder: results of `lowmed probe`.

    Raises:
        RunError: it holds something else than a probe, or completions of held-out questions.
    """
    rows, completion_format = _sampled(folder)
    result: list[ByUse] = []
    for completions in by_question(rows):
        by_use: dict[Use, list[Row]] = {}
        for row in completions:
            by_use.setdefault(_use(row, completion_format), []).append(row)
        result.append(by_use)
    return result


def count_uses(questions: Sequence[ByUse]) -> dict[Use, int]:
    """The number of completions of each use, the most common one first."""
    counts: Counter[Use] = Counter()
    for by_use in questions:
        counts.update({use: len(rows) for use, rows in by_use.items()})
    return dict(counts.most_common())


def _sampled(folder: Path) -> tuple[list[dict[str, Any]], CompletionFormat]:
    """The scored sampled completions of a probe, and the form that its prompts request."""
    settings = results_folder.read_settings(folder)
    if settings.splits.keys() != {"train"}:
        held_out = ", ".join(name for name in settings.splits if name != "train")
        raise RunError(
            f"these are completions of held-out questions ({held_out}), which are never trained on",
            str(folder),
            "name the folder of a probe, which has training questions only: lowmed probe MODEL --on DATA",
        )
    system = results_folder.systems(folder)[0]
    rows = scored(results_folder.read_rows(results_folder.completions_file(folder, system, SAMPLED)))
    if not rows:
        raise RunError("the folder has no sampled completions", str(folder), "run `lowmed probe` to its end")
    family = prompt.FAMILIES.get(settings.prompts)
    if family:
        return rows, family.completion_format
    return rows, "think_answer" if any("<think" in row["completion"] for row in rows) else "answer"


def _use(row: Row, completion_format: CompletionFormat) -> Use:
    if row["kind"] in ("text", "report"):
        return "free text"
    if row["finish_reason"] == "length":
        return "truncated"
    if row["strict_outcome"] == "unread" and row["outcome"] == "unread":
        return "unread"
    options, size = tuple(row["options"]), row.get("image_size") or (0, 0)
    sample = Sample(
        row["id"], row["question"], row["answer"], row["kind"], row["group"], "probe", options=options, image_size=size
    )
    if row["strict_outcome"] == "unread" or not Format(completion_format)(sample, row["completion"]).value:
        return "not in full form"
    if row["strict_outcome"] == "incorrect":
        return "wrong"
    if completion_format == "think_answer" and reasoning_outcome(row) == "incorrect":
        return "reasoning comes to another answer"
    return "right"


def distinct(rows: Sequence[Row]) -> list[Row]:
    """One row of each text."""
    return list({" ".join(row["completion"].split()): row for row in rows}.values())
