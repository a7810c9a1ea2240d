"""What tables of pairs and of labeled completions share: reading, checks against the questions, selection."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lowmed import answer
from lowmed.control_tokens import control_token
from lowmed.data.ingest.tables import read_table
from lowmed.errors import DataError
from lowmed.sample import Sample

Content = TypeVar("Content")  # a pair, or a labeled completion


@dataclass(frozen=True)
class TableKind:
    """What a table holds, for its error messages.

    Attributes:
        one: the name of a row.
        many: its plural.
        columns: all columns.
        make: the commands that make the table.
    """

    one: str
    many: str
    columns: tuple[str, ...]
    make: str


@dataclass(frozen=True, slots=True)
class Row(Generic[Content]):
    """A row of a table, with its place there and the id of its question."""

    where: str
    id: str
    content: Content


@dataclass(frozen=True)
class PreferenceSelection(Generic[Content]):
    """The questions to train on, with their pairs or labeled completions.

    Attributes:
        kept: the training samples that the table has rows of.
        of_sample: id of a sample -> its rows.
        lines: what the table has, and what is left out, to print.
    """

    kept: tuple[Sample, ...]
    of_sample: Mapping[str, tuple[Content, ...]]
    lines: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of rows of all questions that are trained on."""
        return sum(map(len, self.of_sample.values()))


def digest(of_sample: Mapping[str, tuple[Any, ...]]) -> str:
    """The first 16 hex digits of a SHA-256 over all rows in their order, by which a resumed run notices other ones."""
    content = {name: [astuple(one) for one in some] for name, some in of_sample.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def table_rows(file: Path, kind: TableKind) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table with their places, in any format that lowmed reads. No column is empty.

    Raises:
        DataError: the file is missing or empty, a line cannot be read, or a column is missing.
    """
    if not file.is_file():
        raise DataError(f"the file of {kind.many} does not exist", str(file), f"make it: {kind.make}")
    empty = True
    for location, row in read_table(file):
        empty, where = False, f"{file.parent / str(location)}"
        if isinstance(row, str):
            raise DataError(f"a {kind.one} cannot be read: {row}", where, "correct the line, or remove it")
        if missing := [name for name in kind.columns if row.get(name) in (None, "")]:
            columns = ", ".join(kind.columns)
            raise DataError(f"a {kind.one} has no {' and no '.join(missing)}", where, f"name the columns {columns}")
        yield where, row
    if empty:
        raise DataError(f"the file has no {kind.many}", str(file), f"make them: {kind.make}")


def require_turns(row: Mapping[str, Any], columns: Sequence[str], where: str) -> tuple[str, ...]:
    """The assistant's turns in these columns.

    Raises:
        DataError: one is not a text, is empty, or contains a control token.
    """
    texts = tuple(row[name] for name in columns)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        fix = "write the assistant's turn as one text, without a role"
        raise DataError(f"{' or '.join(columns)} is not a text", where, fix)
    if token := next(filter(None, map(control_token, texts)), None):
        raise DataError(f"a completion contains {token}, which the chat template writes", where, "remove it")
    return texts


def require_trainable(
    file: Path, rows: Sequence[Row[Any]], kind: TableKind, samples: Mapping[str, Sample], held_out: set[str]
) -> None:
    """Refuse rows of other data, and of questions that are held out.

    Raises:
        DataError: there is such a row.
    """
    if unknown := [row for row in rows if row.id not in samples]:
        raise DataError(
            f"{len(unknown):,} of {len(rows):,} {kind.many} name questions that these data lack, first "
            f"`{unknown[0].id}`",
            unknown[0].where,
            f"make {kind.many} for these data: {kind.make}",
        )
    if tested := [row for row in rows if row.id in held_out]:
        raise DataError(
            f"{len(tested):,} of {len(rows):,} {kind.many} belong to questions that this recipe holds out, first "
            f"`{tested[0].id}`",
            f"{tested[0].where}; {file}",
            "remove these lines; a probe of a run of this recipe (lowmed probe RUN) has its training questions only",
        )


def select(
    rows: Sequence[Row[Content]], train: Sequence[Sample], file: Path, kind: TableKind
) -> PreferenceSelection[Content]:
    """The training samples that have rows, with a line about those that are left out.

    Args:
        rows: those of the table, which are trainable.
        train: the training samples, after the other filters of the recipe.
        file: the table.
        kind: what it holds.

    Raises:
        DataError: there is none.
    """
    by_id: dict[str, list[Content]] = {}
    for row in rows:
        by_id.setdefault(row.id, []).append(row.content)
    kept = tuple(sample for sample in train if sample.id in by_id)
    if not kept:
        raise DataError(
            f"no {kind.one} belongs to a question that is trained on",
            str(file),
            f"relax data.max_train_questions, data.modality or data.difficulty, or make {kind.many} for these "
            "questions",
        )
    selection = PreferenceSelection(kept, {sample.id: tuple(by_id[sample.id]) for sample in kept})
    left = len(rows) - selection.count
    note = f"{left:,} {kind.many} left out, because their questions are: for data.dev, or by another key of data"
    return PreferenceSelection(kept, selection.of_sample, (note,) if left else ())


def outcome(completion: str, sample: Sample) -> answer.Outcome:
    """The lenient grade of a completion."""
    return answer.grade(answer.read(completion, sample), sample).outcome


def is_wrong(completion: str, sample: Sample) -> bool:
    """Whether the answer is not the gold one. Free texts have no such grade, and an unread answer is not wrong."""
    return sample.kind not in ("text", "report") and outcome(completion, sample) == "incorrect"
