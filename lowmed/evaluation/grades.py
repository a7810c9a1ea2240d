"""The grades of an evaluation by question, so that scoring it again by other rules shows what changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowmed.answer import RULES_VERSION
from lowmed.evaluation.records import GradeChange
from lowmed.files import read_jsonl, to_jsonl, write_text
from lowmed.records import Line, check_lines

FILE = "grades.jsonl"
_FIX = "delete the file; the next evaluation writes it again"
EXAMPLES = 5

Row = Mapping[str, Any]
Grades = dict[tuple[str, str, str], tuple[str, str]]


class _GradeLine(Line):
    system: str
    split: str
    id: str
    outcome: str
    strict: str


def changed_grades(folder: Path, rows: Mapping[str, Sequence[Row]]) -> tuple[GradeChange, ...]:
    """The changes since the grades were stored, most frequent first; empty if none are stored.

    Args:
        folder: the results directory.
        rows: the scored completions by system, in the real condition.
    """
    stored = _stored(folder)
    changes: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (system, split, name), (after, _) in _grades(rows).items():
        before, _ = stored.get((system, split, name), (after, ""))
        if before != after:
            changes[system, before, after].append(name)
    return tuple(
        GradeChange(system=system, before=before, after=after, questions=len(ids), examples=tuple(ids[:EXAMPLES]))
        for (system, before, after), ids in sorted(changes.items(), key=lambda item: -len(item[1]))
    )


def write_grades(folder: Path, rows: Mapping[str, Sequence[Row]]) -> None:
    """Store the grades with the version of the rules."""
    lines = (
        {"system": system, "split": split, "id": name, "outcome": lenient, "strict": strict, "rules": RULES_VERSION}
        for (system, split, name), (lenient, strict) in _grades(rows).items()
    )
    write_text(folder / FILE, to_jsonl(lines, ascii_only=True))


def _grades(rows: Mapping[str, Sequence[Row]]) -> Grades:
    return {
        (system, str(row.get("split", "")), str(row["id"])): (str(row["outcome"]), str(row["strict_outcome"]))
        for system, scored in rows.items()
        for row in scored
    }


def _stored(folder: Path) -> Grades:
    if not (folder / FILE).is_file():
        return {}
    lines = read_jsonl(folder / FILE, fix=_FIX)
    check_lines(lines, folder / FILE, _GradeLine, fix=_FIX)
    return {(line["system"], line["split"], line["id"]): (line["outcome"], line["strict"]) for line in lines}
