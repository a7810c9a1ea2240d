"""One question for all rows of a table: its labels become the options, as the names of class folders do."""

from collections import Counter
from pathlib import Path

from lowmed.answer import is_number
from lowmed.data.dataset import is_yes_no
from lowmed.data.ingest import cells, columns, tables
from lowmed.data.ingest.detect import MAX_CLASSES, ImportOptions

LONGEST_LABEL = 60  # characters; a longer answer is a report


def labels(file: Path, options: ImportOptions, names: list[str], question_column: str) -> tuple[str, ...]:
    """The labels of a table whose rows all have the same question.

    Args:
        file: the table.
        options: the column mapping.
        names: the table's columns.
        question_column: the column that holds the question.

    Returns:
        The different answers, if there are 2 to 26, each occurs twice on average, and none is yes, no, a number or
        a long text. Otherwise nothing, and so if the table has options of its own.

    Raises:
        RecipeError: no column holds the answers.
    """
    mapping = {**options.columns, "question": question_column, "image": ""}
    mapped = columns.map_columns([*names, question_column], mapping)
    column = mapped.by_field.get("answer") or mapped.by_field.get("letter", "")
    if mapped.option_columns or "options" in mapped.by_field or "kind" in mapped.by_field:
        return ()
    counts: Counter[str] = Counter()
    for _, row in tables.read_table(file, options.turns):
        try:
            counts[cells.text(None if isinstance(row, str) else row.get(column))] += 1
        except ValueError:
            return ()
        if len(counts) > MAX_CLASSES + 1:
            return ()
    del counts[""]
    short = all(len(text) <= LONGEST_LABEL and not is_yes_no(text) and not is_number(text) for text in counts)
    return tuple(sorted(counts)) if short and 4 <= 2 * len(counts) <= min(counts.total(), 2 * MAX_CLASSES) else ()
