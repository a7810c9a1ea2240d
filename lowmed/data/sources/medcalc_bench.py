"""MedCalc-Bench (Khandekar et al. 2024): clinical calculations from a patient's note, text only, CC BY-SA 4.0.

All versions have the same columns. Rows of one note are one group, because several calculations can share a note.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lowmed.answer import is_number
from lowmed.answer.quantity import parse_date, parse_quantity
from lowmed.data.ingest import cells, tables
from lowmed.data.ingest.columns import SPLITS
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import RawSample, RowLocation, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

NOTE, TASK, ANSWER = "Patient Note", "Question", "Ground Truth Answer"
LOWER, UPPER, EXPLANATION = "Lower Limit", "Upper Limit", "Ground Truth Explanation"
SUFFIXES = (".parquet", ".csv")  # in order of precedence, if a folder has both forms
CATEGORIES = {"lab": "lab test", "dosage conversion": "dosage"}  # the versions spell some differently
# As EHRMind shows them; MedCalc-Bench's own prompts are the same without the fences.
QUESTION = "Here is the patient note:\n```{note}```\n\nHere is the task:\n```{task}```"
_WEEKS_AND_DAYS = re.compile(r"\(\s*'(\d+ weeks?)'\s*,\s*'(\d+ days?)'\s*\)")

Row = tuple[str, str | Mapping[str, Any]]  # the split and the row, or why it cannot be read


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the tables of a folder whose names begin with a split, e.g. `train_data.csv`, or one such table.

    Raises:
        DataError: there is no such table, or one does not have the columns of MedCalc-Bench.
    """
    del options
    files = _files(folder)
    for file in files:
        _require_columns(file)

    def rows() -> Iterator[tuple[RowLocation, Row]]:
        for file in files:
            for location, row in tables.read_table(file):
                yield location, (_split(file), row)

    names = ", ".join(file.name for file in files)
    return RowStream(read_rows(rows(), _read), f"files    {names}", sum(map(tables.count_rows, files)))


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    for suffix in SUFFIXES:
        if files := sorted(file for file in folder.rglob(f"*{suffix}") if _split(file)):
            return files
    raise DataError("the folder does not contain MedCalc-Bench", str(folder), f"it needs {MEDCALC_BENCH.files}")


def _split(file: Path) -> str:
    """The split that a file's name begins with; "" for others, such as the examples in `one_shot-*.parquet`."""
    return SPLITS.get(re.split(r"[-_.]", file.name.casefold())[0], "")


def _require_columns(file: Path) -> None:
    first = next((row for _, row in tables.read_table(file) if not isinstance(row, str)), {})
    missing = [name for name in (NOTE, TASK, ANSWER, LOWER, UPPER, EXPLANATION) if name not in first]
    if missing:
        raise DataError(
            f"the table has no column `{missing[0]}` of MedCalc-Bench",
            str(file),
            f"use the published files ({MEDCALC_BENCH.files}), or import another form by its path alone",
        )


def _read(entry: Row) -> RawSample:
    """Convert a row.

    Raises:
        ValueError: it has no note, task or answer, or its answer is outside its own limits.
    """
    split, row = entry
    if isinstance(row, str):
        raise ValueError(row)
    note, task = cells.lines(row[NOTE]).strip(), cells.lines(row[TASK]).strip()
    answer = _WEEKS_AND_DAYS.sub(r"\1, \2", cells.text(row[ANSWER], dates=True))
    for name, text in ((NOTE, note), (TASK, task), (ANSWER, answer)):
        if not text:
            raise ValueError(f"no {name}")
    lower, upper = _limits(row, answer)
    category = cells.text(row.get("Category")).casefold()
    number = cells.plain(row.get("Row Number"))
    return RawSample(
        question=QUESTION.replace("{task}", task).replace("{note}", note),
        answer=answer,
        kind="number" if is_number(answer) else "open",
        split=split or "train",
        # Copies can repeat row numbers; eight digits would look like a patient's number.
        id=f"{split}-{_digest(note, task, answer)[:6]}-row{number}" if number else "",
        group=_digest(note)[:20],
        explanation=cells.lines(row[EXPLANATION]).strip(),
        topic=CATEGORIES.get(category, category),
        lower=lower,
        upper=upper,
        source=MEDCALC_BENCH.name,
    )


def _limits(row: Mapping[str, Any], answer: str) -> tuple[str, str]:
    """The smallest and the largest right number; "" and "" for dates, for weeks and days, and without limits.

    Raises:
        ValueError: the answer is outside of them.
    """
    if parse_date(answer) or parse_quantity(answer) is None:
        return "", ""
    limits = [cells.text(row[name]) for name in (LOWER, UPPER)]
    low, high, gold = (parse_quantity(text) for text in (*limits, answer))
    if low is None or high is None or gold is None:
        return "", ""
    if not min(low.value, high.value) <= gold.value <= max(low.value, high.value):
        raise ValueError(f"the answer {answer} is outside its limits, {limits[0]} to {limits[1]}")
    return limits[0], limits[1]


def _digest(*texts: str) -> str:
    """A digest of texts that does not depend on case and white space."""
    return hashlib.sha256("\0".join(" ".join(text.casefold().split()) for text in texts).encode()).hexdigest()


MEDCALC_BENCH = Source(
    name="medcalc-bench",
    about="clinical calculations from a patient's note, text only, with worked solutions",
    size="11,638 questions (10,538 train, 1,100 test) in the edition Verified",
    kinds="number",
    license="CC BY-SA 4.0",
    citation="Khandekar et al., NeurIPS 2024, arXiv 2406.12036; the hub id is the edition MedCalc-Bench Verified",
    url="https://huggingface.co/datasets/nsk7153/MedCalc-Bench-Verified",
    files="train_data.csv and test_data.csv, or train-*.parquet and test-*.parquet, of any version",
    open=open_folder,
    hub_id="nsk7153/MedCalc-Bench-Verified",
    hub_files=("train_data.csv", "test_data.csv"),
    question_tokens=3800,  # of 840 rows the longest note and task have 11,140 characters, the longest solution 4,959
    reference_tokens=1700,
)
