"""Pairs of completions that DPO trains on: read from a table, and checked against the questions of a recipe."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
    "pair",
    "pairs",
    ("id", "chosen", "rejected"),
    "lowmed probe MODEL --on DATA --out probe, then lowmed data pairs probe --out pairs.jsonl",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one question. Both are complete assistant turns, with the tags that the prompts request."""

    chosen: str
    rejected: str


Pairs = Mapping[str, tuple[Pair, ...]]  # id of a sample -> its pairs


def select_pairs(
    train: Sequence[Sample], known: Iterable[Sample], held_out: Iterable[Sample], spec: DataSpec
) -> PreferenceSelection[Pair]:
    """The training questions that have pairs in `data.pairs`.

    Args:
        train: the training samples, after the other filters of the recipe.
        known: all samples of the data.
        held_out: the samples that the recipe holds out. Pairs of those for `dev`, which a probe may have, are left out.
        spec: the data settings of the recipe.

    Raises:
        RecipeError: the recipe names no file.
        DataError: the file cannot be read, or a pair of it cannot be trained on.
    """
    if spec.pairs is None:
        raise RecipeError(
            "the method trains on pairs of completions, and the recipe names no file of them",
            "data.pairs",
            f"make them: {KIND.make}; then add data.pairs=pairs.jsonl",
        )
    file = Path(spec.pairs).expanduser()
    rows = read_pairs(file)
    samples = {sample.id: sample for sample in known}
    require_trainable(file, rows, KIND, samples, {sample.id for sample in held_out})
    if not spec.allow_wrong_chosen:
        _require_right(file, rows, samples)
    selection = select(rows, train, file, KIND)
    kept, count = selection.kept, selection.count
    lines = [
        f"{count:,} pairs of {len(kept):,} questions from {spec.pairs}; {len(train) - len(kept):,} questions without",
        *selection.lines,
    ]
    both = sum(
        outcome(pair.rejected, sample) == "correct" for sample in kept for pair in selection.of_sample[sample.id]
    )
    if both:
        lines.append(f"{both:,} of {count:,} rejected completions have the right answer too; these pairs teach style")
    return replace(selection, lines=tuple(lines))


def read_pairs(file: Path) -> list[Row[Pair]]:
    """The pairs of a table with the columns `id`, `chosen` and `rejected`, in any format that lowmed reads.

    Raises:
        DataError: the file is missing or empty, a line cannot be read, a column or text is missing, or both texts of a
            pair are equal.
    """
    result = []
    for where, row in table_rows(file, KIND):
        chosen, rejected = require_turns(row, KIND.columns[1:], where)
        if chosen.split() == rejected.split():
            raise DataError("chosen and rejected are the same text", where, "remove the pair")
        result.append(Row(where, str(row["id"]), Pair(chosen, rejected)))
    return result


def _require_right(file: Path, rows: Sequence[Row[Pair]], samples: Mapping[str, Sample]) -> None:
    """Refuse a chosen completion whose answer the reader calls wrong."""
    if wrong := [row for row in rows if is_wrong(row.content.chosen, samples[row.id])]:
        raise DataError(
            f"the chosen completion is wrong in {len(wrong):,} of {len(rows):,} pairs: its answer is not the gold one",
            f"{wrong[0].where}, id {wrong[0].id}; {file}",
            "correct or remove these pairs; or, where the gold answers cannot be graded, data.allow_wrong_chosen=true",
        )
