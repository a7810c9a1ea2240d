"""Map the columns of a table to lowmed's fields: as the user sets them, else by common names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lowmed.data.ingest import cells
from lowmed.data.strata import Strata, strata_of
from lowmed.errors import RecipeError

# lowmed's field name -> common column names, in order of precedence.
COMMON_NAMES: dict[str, tuple[str, ...]] = {
    "image": (
        "images", "image", "image_path", "image_paths", "image_file", "image_name", "img", "imgs", "img_path",
        "img_name", "figure_path", "picture", "dicom", "file_name", "filename", "file", "path",
    ),
    "question": ("question", "query", "problem", "prompt", "instruction", "q"),
    "answer": ("short_answer", "answer", "gt_answer", "gold", "ground_truth_answer",
        "ground_truth", "solution", "target", "output", "response", "a"),
    "letter": (
        "answer_label", "answer_letter", "correct_option", "correct_answer_label", "label", "correct", "answer_idx",
    ),
    "options": ("options", "choices", "candidates"),
    "id": ("id", "qid", "question_id", "sample_id", "uid", "index"),
    "group": ("group", "patient_id", "patientid", "patient", "subject_id", "subject", "case_id", "study_id"),
    "split": ("split", "partition", "subset"),
    "kind": ("kind", "answer_type", "question_kind", "output_type"),
    "explanation": (
        "explanation", "rationale", "reasoning", "reason", "long_answer", "ground_truth_explanation", "cot",
    ),
    "modality": ("modality", "modality_type", "image_modality"),
    "topic": ("topic", "question_type", "content_type", "category"),
    "unit": ("unit", "units", "answer_unit"),
    "lower": ("lower", "lower_limit", "lower_bound", "min_answer"),
    "upper": ("upper", "upper_limit", "upper_bound", "max_answer"),
    "tolerance": ("tolerance",),
    "strata": ("strata",),
    "history": ("history",),
}  # fmt: skip
SPLITS = {
    "train": "train", "training": "train", "dev": "validation", "val": "validation", "valid": "validation",
    "validate": "validation", "validation": "validation", "test": "test", "testing": "test",
}  # fmt: skip


REPORT = "report"


@dataclass(frozen=True)
class Columns:
    """A column mapping.

    Attributes:
        by_field: lowmed's field name -> the table's column.
        option_columns: columns that hold one option each.
        guessed: the fields that were mapped by common names.
        kind: `report` if the user states it as the kind of all rows, in place of a column; "" otherwise.
    """

    by_field: Mapping[str, str]
    option_columns: tuple[str, ...]
    guessed: frozenset[str]
    kind: str = ""

    def describe(self) -> str:
        """The mapping as one line; `?` marks a guess."""
        pairs = [f"{field}={column}{'?' * (field in self.guessed)}" for field, column in self.by_field.items()]
        if self.option_columns:
            pairs.append(f"options={'+'.join(self.option_columns)}?")
        if self.kind:
            pairs.append(f"kind={self.kind} for all rows")
        return "  ".join(pairs)


def map_columns(names: Iterable[str], mapping: Mapping[str, str]) -> Columns:
    """Map the columns of a table.

    Args:
        names: the table's columns.
        mapping: lowmed's field name -> the column set by the user, or "" to leave the field empty. `kind` may be
            `report` for a table of reports, which needs no column of questions.

    Raises:
        RecipeError: the mapping names an unknown field or column, or no column holds the questions or the answers.
    """
    present = list(names)
    reports = mapping.get("kind") == REPORT  # of all rows; a column of that name holds reports, and never kinds
    if reports:
        answer = {"answer": REPORT} if REPORT in present and "answer" not in mapping else {}
        mapping = {**mapping, "kind": "", **answer}
    example = present[0] if present else "column"
    fix = f"set it with --map, e.g. --map question={example}; lowmed's field names are {', '.join(COMMON_NAMES)}"
    columns_present = f"the table has {', '.join(present) or 'no columns'}"
    for field, column in mapping.items():
        if field not in COMMON_NAMES:
            raise RecipeError(f"`{field}` is not a field that a column can be mapped to", "--map", fix)
        if column and not set(split_columns(field, column, present)) <= set(present):
            raise RecipeError(f"there is no column `{column}`; {columns_present}", f"--map {field}={column}", fix)
    taken = {name for field, column in mapping.items() for name in split_columns(field, column, present)}
    by_lower = {plain_name(name): name for name in reversed(present) if name not in taken}
    guessed = {
        field: next(by_lower[name] for name in common if name in by_lower)
        for field, common in COMMON_NAMES.items()
        if field not in mapping and any(name in by_lower for name in common)
    }
    if "letter" in guessed and "answer" not in guessed and "answer" not in mapping and guessed["letter"] == "label":
        guessed["answer"] = guessed.pop("letter")  # a lone `label` holds a text as often as a letter
    by_field = {field: column for field in COMMON_NAMES if (column := mapping.get(field) or guessed.get(field, ""))}
    by_field = {field: column for field, column in by_field.items() if mapping.get(field) != ""}
    if ("question" not in by_field and not reports) or not {"answer", "letter"} & by_field.keys():
        missing = "question" if "question" not in by_field and not reports else "answer"
        alike = next((name for name in present if missing in name.casefold()), "COLUMN")
        fix = f"name the column: --map '{missing}={alike}'"
        if REPORT in present and missing == "question":
            fix += ", or state that every row is a report: --map kind=report"
        raise RecipeError(f"no column holds the {missing}; {columns_present}", "the table's columns", fix)
    without = "options" in by_field or mapping.get("options") == ""
    options = () if without or reports else option_columns(present)
    return Columns(by_field, options, frozenset(guessed), REPORT if reports else "")


def split_columns(field: str, column: str, present: Iterable[str]) -> tuple[str, ...]:
    """The columns that one entry of a mapping names: several for `strata`, joined by `+`."""
    return tuple(column.split("+")) if field == "strata" and column not in present else (column,)


def row_strata(row: Mapping[str, Any], column: str) -> Strata:
    """The strata of a row from one column, several joined by `+`, or one that holds an object.

    Raises:
        ValueError: a value is a list.
    """
    value = row.get(column)
    if isinstance(value, Mapping):
        return strata_of(value)
    names = split_columns("strata", column, row) if column else ()
    return strata_of({name: cells.plain(row.get(name)) for name in names})


def plain_name(name: str) -> str:
    """A column's name in lower case, with underscores for spaces and hyphens."""
    return "_".join(name.strip().casefold().replace("-", " ").split())


def option_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Columns that hold one option each: `option_a`, `Choice B`, `opc`, or plain `A`, `B`, `C`."""
    for prefix in ("option_", "choice_", "option", "choice", "op", "opt_", ""):
        columns = []
        for letter in "abcdefghij":
            column = next((name for name in names if plain_name(name) == prefix + letter), None)
            if column is None:
                break
            columns.append(column)
        if len(columns) > 1:
            return tuple(columns)
    return ()
