"""Labeled completions that KTO trains on: read from a table, and checked against the questions of a recipe."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lowmed.data.preference_table import (
    PreferenceSelection,
    Row,
    TableKind,
    is_wrong,
    outcome,
    require_trainable,
    require_turns,
    select,
    table_rows,
)
from lowmed.errors import DataError, RecipeError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

KIND = TableKind(
    "labeled completion",
    "labeled completions",
    ("id", "completion", "label"),
    "lowmed probe MODEL --on DATA --out probe, then lowmed data pairs probe --unpaired --out unpaired.jsonl",
)
BOOLEANS = {"true": True, "false": False}  # how tables without types write them


@dataclass(frozen=True, slots=True)
class LabeledCompletion:
    """A completion of a question and whether it is good. It is a complete assistant turn, with its tags."""

    completion: str
    label: bool


Unpaired = Mapping[str, tuple[LabeledCompletion, ...]]  # id of a sample -> its labeled completions


def select_unpaired(
    train: Sequence[Sample], known: Iterable[Sample], held_out: Iterable[Sample], spec: DataSpec
) -> PreferenceSelection[LabeledCompletion]:
    """The training questions that have labeled completions in `data.unpaired`.

    Args:
        train: the training samples, after the other filters of the recipe.
        known: all samples of the data.
        held_out: the samples that the recipe holds out. Completions of those for `dev` are left out.
        spec: the data settings of the recipe.

    Raises:
        RecipeError: the recipe names no file.
        DataError: the file cannot be read, or a completion of it cannot be trained on.
    """
    if spec.unpaired is None:
        raise RecipeError(
            "the method trains on labeled completions, and the recipe names no file of them",
            "data.unpaired",
            f"make them: {KIND.make}; then add data.unpaired=unpaired.jsonl",
        )
    file = Path(spec.unpaired).expanduser()
    rows = read_unpaired(file)
    samples = {sample.id: sample for sample in known}
    require_trainable(file, rows, KIND, samples, {sample.id for sample in held_out})
    _require_one_label(file, rows)
    if not spec.allow_wrong_chosen:
        _require_right(file, rows, samples)
    selection = select(rows, train, file, KIND)
    listed = [(sample, one) for sample in selection.kept for one in selection.of_sample[sample.id]]
    _require_both_labels(file, [one for _, one in listed])
    if len(selection.kept) < 2:
        raise DataError(
            "all labeled completions belong to one question, and KTO compares with completions of other questions",
            str(file),
            "add completions of other questions",
        )
    good = sum(one.label for _, one in listed)
    without = f"{len(train) - len(selection.kept):,} questions without"
    lines = [
        f"{len(listed):,} labeled completions of {len(selection.kept):,} questions from {spec.unpaired}; {without}",
        f"{good:,} good, {len(listed) - good:,} bad",
        *selection.lines,
    ]
    right = sum(not one.label and outcome(one.completion, sample) == "correct" for sample, one in listed)
    if right:
        lines.append(f"{right:,} of {len(listed) - good:,} bad completions have the right answer; these teach style")
    ordered = {name: _mixed(name, some) for name, some in selection.of_sample.items()}
    return replace(selection, of_sample=ordered, lines=tuple(lines))


def _mixed(name: str, completions: Sequence[LabeledCompletion]) -> tuple[LabeledCompletion, ...]:
    """The completions of a question in an order that does not depend on the file.

    They are drawn one after another. If all files began with the good ones, an epoch would too.
    """

    def key(one: LabeledCompletion) -> str:
        return hashlib.sha256(f"{name}\n{one.completion}".encode()).hexdigest()

    return tuple(sorted(completions, key=key))


def read_unpaired(file: Path) -> list[Row[LabeledCompletion]]:
    """The rows of a table with the columns `id`, `completion` and `label`, in any format that lowmed reads.

    Raises:
        DataError: the file is missing or empty, a line cannot be read, a column or text is missing, or a label is
            neither true nor false.
    """
    result = []
    for where, row in table_rows(file, KIND):
        [completion] = require_turns(row, ("completion",), where)
        result.append(Row(where, str(row["id"]), LabeledCompletion(completion, _label(row["label"], where))))
    return result


def _label(cell: Any, where: str) -> bool:
    if isinstance(cell, bool):
        return cell
    label = BOOLEANS.get(cell.strip().lower()) if isinstance(cell, str) else None
    if label is None:
        raise DataError(
            f"the label `{str(cell)[:40]}` is neither true nor false",
            where,
            "write true for a good completion and false for a bad one",
        )
    return label


def _require_one_label(file: Path, rows: Sequence[Row[LabeledCompletion]]) -> None:
    """Refuse a completion of a question that is labeled good in one row and bad in another."""
    first: dict[tuple[str, str], Row[LabeledCompletion]] = {}
    for row in rows:
        other = first.setdefault((row.id, " ".join(row.content.completion.split())), row)
        if other.content.label != row.content.label:
            raise DataError(
                f"a completion of question `{row.id}` is labeled both good and bad",
                f"{other.where}; {row.where}; {file}",
                "keep one label, or remove both rows",
            )


def _require_right(file: Path, rows: Sequence[Row[LabeledCompletion]], samples: Mapping[str, Sample]) -> None:
    """Refuse a good completion whose answer the reader calls wrong."""
    good = [row for row in rows if row.content.label]
    if wrong := [row for row in good if is_wrong(row.content.completion, samples[row.id])]:
        raise DataError(
            f"{len(wrong):,} of {len(good):,} completions labeled good are wrong: their answer is not the gold one",
            f"{wrong[0].where}, id {wrong[0].id}; {file}",
            "correct or remove these rows; or, where the gold answers cannot be graded, data.allow_wrong_chosen=true",
        )


def _require_both_labels(file: Path, completions: Sequence[LabeledCompletion]) -> None:
    labels = {one.label for one in completions}
    if len(labels) == 1:
        only, other = ("good", "bad") if labels == {True} else ("bad", "good")
        raise DataError(
            f"all {len(completions):,} completions of questions that are trained on are labeled {only}",
            str(file),
            f"add {other} ones"
            + ("; for right completions alone, lowmed data distil makes data for SFT" if only == "good" else ""),
        )
