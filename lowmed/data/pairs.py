"""Pairs of completions that DPO trains on: read from a table, and checked against the questions of a recipe."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from lowmed import answer
from lowmed.control_tokens import control_token
from lowmed.data.ingest.tables import read_table
from lowmed.errors import DataError, RecipeError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample

COLUMNS = ("id", "chosen", "rejected")
MAKE = "lowmed probe MODEL --on DATA --out probe, then lowmed data pairs probe --out pairs.jsonl"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one question. Both are complete assistant turns, with the tags that the prompts request."""

    chosen: str
    rejected: str


Pairs = Mapping[str, tuple[Pair, ...]]  # id of a sample -> its pairs


def digest(pairs: Pairs) -> str:
    """The first 16 hex digits of a SHA-256 over all pairs in their order, by which a resumed run notices other ones."""
    content = {name: [astuple(pair) for pair in some] for name, some in pairs.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PairSelection:
    """The questions to train on, with their pairs.

    Attributes:
        kept: the training samples that have pairs.
        pairs: their pairs.
        lines: what the file has, and what is left out, to print.
    """

    kept: tuple[Sample, ...]
    pairs: Pairs
    lines: tuple[str, ...] = ()


def select_pairs(
    train: Sequence[Sample], known: Iterable[Sample], held_out: Iterable[Sample], spec: DataSpec
) -> PairSelection:
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
            f"make them: {MAKE}; then add data.pairs=pairs.jsonl",
        )
    file = Path(spec.pairs).expanduser()
    rows = read_pairs(file)
    samples = {sample.id: sample for sample in known}
    _require_trainable(file, rows, samples, {sample.id for sample in held_out})
    if not spec.allow_wrong_chosen:
        _require_right(file, rows, samples)
    by_id: dict[str, list[Pair]] = {}
    for row in rows:
        by_id.setdefault(row.id, []).append(row.pair)
    kept = tuple(sample for sample in train if sample.id in by_id)
    if not kept:
        raise DataError(
            "no pair belongs to a question that is trained on",
            str(file),
            "relax data.max_train_questions, data.modality or data.difficulty, or make pairs for these questions",
        )
    pairs = {sample.id: tuple(by_id[sample.id]) for sample in kept}
    count = sum(map(len, pairs.values()))
    lines = [
        f"{count:,} pairs of {len(kept):,} questions from {spec.pairs}; {len(train) - len(kept):,} questions without"
    ]
    if left := len(rows) - count:
        lines.append(f"{left:,} pairs left out, because their questions are: for data.dev, or by another key of data")
    both = sum(_outcome(pair.rejected, sample) == "correct" for sample in kept for pair in pairs[sample.id])
    if both:
        lines.append(f"{both:,} of {count:,} rejected completions have the right answer too; these pairs teach style")
    return PairSelection(kept, pairs, tuple(lines))


@dataclass(frozen=True, slots=True)
class PairRow:
    """A pair of a file, with its place there."""

    where: str
    id: str
    pair: Pair


def read_pairs(file: Path) -> list[PairRow]:
    """The pairs of a table with the columns `id`, `chosen` and `rejected`, in any format that lowmed reads.

    Raises:
        DataError: the file is missing or empty, a line cannot be read, a column or text is missing, or both texts of a
            pair are equal.
    """
    if not file.is_file():
        raise DataError("the file of pairs does not exist", str(file), f"make it: {MAKE}")
    result = []
    for location, row in read_table(file):
        where = f"{file.parent / str(location)}"
        if isinstance(row, str):
            raise DataError(f"a pair cannot be read: {row}", where, "correct the line, or remove it")
        if missing := [name for name in COLUMNS if row.get(name) in (None, "")]:
            raise DataError(
                f"a pair has no {' and no '.join(missing)}", where, f"name the columns {', '.join(COLUMNS)}"
            )
        texts = [row[name] for name in COLUMNS[1:]]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError(
                "chosen or rejected is not a text", where, "write the assistant's turn as one text, without a role"
            )
        chosen, rejected = texts
        if chosen.split() == rejected.split():
            raise DataError("chosen and rejected are the same text", where, "remove the pair")
        if token := control_token(chosen) or control_token(rejected):
            raise DataError(f"a completion contains {token}, which the chat template writes", where, "remove it")
        result.append(PairRow(where, str(row["id"]), Pair(chosen, rejected)))
    if not result:
        raise DataError("the file has no pairs", str(file), f"make them: {MAKE}")
    return result


def _require_trainable(file: Path, rows: Sequence[PairRow], samples: Mapping[str, Sample], held_out: set[str]) -> None:
    """Refuse pairs of other data, and of questions that are held out."""
    if unknown := [row for row in rows if row.id not in samples]:
        raise DataError(
            f"{len(unknown):,} of {len(rows):,} pairs name questions that these data lack, first `{unknown[0].id}`",
            unknown[0].where,
            f"make pairs for these data: {MAKE}",
        )
    if tested := [row for row in rows if row.id in held_out]:
        raise DataError(
            f"{len(tested):,} of {len(rows):,} pairs belong to questions that this recipe holds out, first "
            f"`{tested[0].id}`",
            f"{tested[0].where}; {file}",
            "remove these lines; a probe of a run of this recipe (lowmed probe RUN) has its training questions only",
        )


def _require_right(file: Path, rows: Sequence[PairRow], samples: Mapping[str, Sample]) -> None:
    """Refuse a chosen completion whose answer the reader calls wrong. Free texts have no such grade."""
    wrong = [
        row
        for row in rows
        if samples[row.id].kind != "text" and _outcome(row.pair.chosen, samples[row.id]) == "incorrect"
    ]
    if wrong:
        raise DataError(
            f"the chosen completion is wrong in {len(wrong):,} of {len(rows):,} pairs: its answer is not the gold one",
            f"{wrong[0].where}, id {wrong[0].id}; {file}",
            "correct or remove these pairs; or, where the gold answers cannot be graded, data.allow_wrong_chosen=true",
        )


def _outcome(completion: str, sample: Sample) -> answer.Outcome:
    return answer.grade(answer.read(completion, sample), sample).outcome
