"""Tables with one column for each finding, as CheXpert has them: each label becomes a yes/no question."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lowmed.data.ingest import cells, tables
from lowmed.errors import RecipeError

QUESTION = "Does the image show {label}?"
# Columns that are added to the table, and the fields that they fill.
FIELDS = {"question": "label question", "answer": "label answer", "topic": "label topic", "kind": "label kind"}
NOT_GUESSED = ("letter", "options", "explanation")  # of a table that has labels only
_VALUES = {
    **dict.fromkeys(("1", "yes", "true", "positive", "pos", "present"), "yes"),
    **dict.fromkeys(("0", "no", "false", "negative", "neg", "absent"), "no"),
    **dict.fromkeys(("-1", "u", "uncertain"), "uncertain"),
    "": "empty",
}


@dataclass(frozen=True)
class LabelColumns:
    """The columns of findings, and what their uncertain and empty cells mean.

    Attributes:
        columns: the columns.
        question: the question, with `{label}` in place of the finding.
        uncertain: the answer for -1; `skip` asks no question.
        empty: the answer for an empty cell; `skip` asks no question.
        left_out: labels without a question, by reason; counted while the rows are read.
    """

    columns: tuple[str, ...]
    question: str = QUESTION
    uncertain: Literal["skip", "yes", "no"] = "skip"
    empty: Literal["skip", "no"] = "skip"
    left_out: Counter[str] = field(default_factory=Counter, compare=False)

    def require_usable(self, present: Sequence[str]) -> None:
        """Refuse columns that the table does not have, and a question without the finding.

        Raises:
            RecipeError: with the first mistake.
        """
        for name in self.columns:
            if name not in present:
                raise RecipeError(
                    f"there is no column `{name}`; the table has {', '.join(present)}",
                    f"--labels {'+'.join(self.columns)}",
                    "name the columns of findings, joined by +",
                )
        if "{label}" not in self.question:
            raise RecipeError(
                "the question does not contain {label}", f"--question {self.question}", f'write e.g. "{QUESTION}"'
            )

    def mapping(self, mapping: Mapping[str, str]) -> dict[str, str]:
        """The user's mapping with the columns of the questions; columns that fit no yes/no question are not guessed.

        Raises:
            RecipeError: it maps a column to a field that the labels fill.
        """
        if taken := next((field for field in FIELDS if mapping.get(field)), None):
            raise RecipeError(
                f"--labels fills the field {taken}", f"--map {taken}={mapping[taken]}", "remove one of them"
            )
        return {**dict.fromkeys(NOT_GUESSED, ""), **mapping, **FIELDS}

    def expand(self, lines: Iterator[tables.Line], id_column: str) -> Iterator[tables.Line]:
        """One row for each label of each row, with the columns of `FIELDS`.

        Args:
            lines: the rows of the table.
            id_column: the column of ids, which get the label's name; "" without one.
        """
        for location, row in lines:
            if isinstance(row, str):
                yield location, row
                continue
            for column in self.columns:
                label = label_name(column)
                answer = self._answer(row.get(column))
                if answer.startswith("the label"):
                    yield location, f"{answer} in column {column}"
                elif answer in ("yes", "no"):
                    question = self.question.replace("{label}", label)
                    added = dict(zip(FIELDS.values(), (question, answer, label, "closed"), strict=True))
                    own_id = {id_column: f"{row[id_column]} {label}"} if id_column and row.get(id_column) else {}
                    yield location, {**row, **added, **own_id}
                else:
                    self.left_out[answer] += 1

    def _answer(self, cell: object) -> str:
        """`yes`, `no`, the reason why there is no question, or a text that begins with "the label"."""
        text = cells.plain(cell)
        meaning = _VALUES.get(text.casefold().removesuffix(".0"))
        if meaning is None:
            return f"the label `{text[:40]}` is not 1, 0, -1 or empty"
        answer = {"uncertain": self.uncertain, "empty": self.empty}.get(meaning, meaning)
        return meaning if answer == "skip" else answer


def label_name(column: str) -> str:
    """The finding that a column names, as a question writes it: `Pleural_Effusion` is pleural effusion."""
    words = column.replace("_", " ").split()
    return " ".join(word if word.isupper() else word.lower() for word in words)
