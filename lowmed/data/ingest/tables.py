"""Read tables of questions from any common file format, as rows with their location."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from lowmed.data.ingest import binary_tables, conversations, records, text_files
from lowmed.data.ingest.columns import COMMON_NAMES, SPLITS
from lowmed.data.ingest.raw_sample import RowLocation
from lowmed.data.ingest.separated import NOT_UTF8, separated_rows
from lowmed.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".xlsx", ".parquet", ".arrow", ".feather")
TableRow = Mapping[str, Any]
Line = tuple[RowLocation, TableRow | str]  # a text states why the line cannot be read

MAX_JSON_BYTES = 512 * 2**20
MAX_DEPTH = 32  # of lists and objects in a row


def read_table(file: Path, turns: conversations.TurnsKept = "all", encoding: str | None = None) -> Iterator[Line]:
    """The rows of a table, one at a time; a row that cannot be read is a text with the reason.

    Args:
        file: the table.
        turns: the turns of a conversation that become questions.
        encoding: of a text file; None to recognize UTF-8 and UTF-16.

    Raises:
        DataError: the file as a whole cannot be read.
        RecipeError: there is no such encoding.
    """
    return split_conversations(_rows(file, encoding), turns)


def split_conversations(lines: Iterable[Line], turns: conversations.TurnsKept) -> Iterator[Line]:
    """The same lines, with each conversation as the rows of its turns."""
    for location, read in lines:
        row = "the row is nested too deeply" if _is_deep(read) else read
        for question in records.questions(row, turns) if not isinstance(row, str) else (row,):
            yield location, question


def _is_deep(row: TableRow | str) -> bool:
    """Whether lists and objects are nested deeper than any column that lowmed reads. Printing them could fail."""
    level: list[Any] = [row]
    for _ in range(MAX_DEPTH):
        nested = [value for value in level if isinstance(value, dict | list | tuple)]
        level = [item for value in nested for item in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return False
    return True


def count_rows(file: Path, turns: conversations.TurnsKept = "all", encoding: str | None = None) -> int:
    """About how many rows the table has, for a progress bar; arguments as of `read_table`.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    match file.suffix.lower():
        case ".json" | ".xlsx":
            return sum(1 for _ in read_table(file, turns, encoding))
        case ".jsonl" | ".ndjson" if "history" in column_names(islice(read_table(file, encoding=encoding), 1)):
            return sum(1 for _ in read_table(file, turns, encoding))
        case ".parquet":
            content = binary_tables.open_parquet(file)
            if keys := conversations.keys_of(content.schema_arrow.names):
                return sum(
                    1 for _ in split_conversations(_numbered(file, binary_tables.parquet_rows(file, keys)), turns)
                )
            return int(content.metadata.num_rows)
        case ".arrow" | ".feather":
            return binary_tables.count_arrow_rows(file)
    return text_files.count_lines(file) - (file.suffix.lower() in (".csv", ".tsv"))


def column_names(lines: Iterable[Line]) -> list[str]:
    """The columns that occur in these lines, in order of first occurrence."""
    return list(dict.fromkeys(name for _, row in lines if not isinstance(row, str) for name in row))


def _rows(file: Path, encoding: str | None) -> Iterator[Line]:
    if not file.is_file():
        raise DataError("the table does not exist", str(file), f"name a file that ends in {', '.join(SUFFIXES)}")
    if not file.stat().st_size:
        raise DataError("the table is empty", str(file), "write one question a line")
    match file.suffix.lower():
        case ".jsonl" | ".ndjson":
            return _json_lines(file, encoding)
        case ".json":
            return _json(file, encoding)
        case ".csv" | ".tsv":
            return iter(separated_rows(file, encoding))
        case ".xlsx":
            return _excel(file)
        case ".parquet":
            return _numbered(file, binary_tables.parquet_rows(file))
        case ".arrow" | ".feather":
            return _numbered(file, binary_tables.arrow_rows(file))
    raise DataError(f"`{file.suffix}` is not a supported table format", str(file), f"use one of {', '.join(SUFFIXES)}")


def _json_lines(file: Path, encoding: str | None) -> Iterator[Line]:
    for number, line in text_files.decoded_lines(file, encoding):
        location = RowLocation(file.name, number)
        if line is None:
            yield location, NOT_UTF8
        elif line.strip():
            yield location, _object(line)


def _object(line: str) -> TableRow | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "the line is not JSON"
    return row if isinstance(row, dict) else "the line is not a JSON object"


def _json(file: Path, encoding: str | None) -> Iterator[Line]:
    if file.stat().st_size > MAX_JSON_BYTES:
        what = f"the JSON file is larger than {MAX_JSON_BYTES // 2**20} MiB"
        raise DataError(what, str(file), "write JSON lines: one object a line, in a file that ends in .jsonl")
    text = text_files.read_text(file, encoding)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if _looks_like_lines(text):
            yield from _json_lines(file, encoding)
            return
        raise DataError(f"this is not JSON ({error})", str(file), "copy it again; it may be truncated") from error
    rows = _list_of_rows(content)
    if not isinstance(rows, list):
        raise DataError("the JSON file contains no list of rows", str(file), "write a list of objects, one a question")
    for number, row in enumerate(rows, start=1):
        yield RowLocation(file.name, number), row if isinstance(row, dict) else "the row is not a JSON object"


def _looks_like_lines(text: str) -> bool:
    """Whether the file holds JSON lines under another name: its first two lines are objects."""
    first = [line for line in islice(text.splitlines(), 20) if line.strip()][:2]
    return len(first) == 2 and all(isinstance(_object(line), dict) for line in first)


def _list_of_rows(content: Any) -> Any:
    """The rows of a JSON document: a list, the only list in an object, a list for each split, or columns."""
    if not isinstance(content, dict):
        return content
    lists = {name: value for name, value in content.items() if isinstance(value, list)}
    if len(lists) > 1 and all(name.casefold() in SPLITS for name in lists):
        return [
            {"split": name, **row} if isinstance(row, dict) else row for name, rows in lists.items() for row in rows
        ]
    if any(name.casefold() in (*COMMON_NAMES["question"], *conversations.KEYS) for name in content):
        return _from_columns(content)
    return next(iter(lists.values())) if len(lists) == 1 else list(content.values())


def _from_columns(content: dict[str, Any]) -> Any:
    """The rows of a table by column, as pandas writes it; a single row for an object of plain values."""
    columns = {
        name: value if isinstance(value, dict) else dict(enumerate(value))
        for name, value in content.items()
        if isinstance(value, dict | list)
    }
    if len(columns) < len(content) or any(isinstance(content.get(key), list) for key in conversations.KEYS):
        return [content]
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    return [{name: column.get(key) for name, column in columns.items()} for key in keys]


def _excel(file: Path) -> Iterator[Line]:
    header: list[str] | None = None
    for number, row in binary_tables.excel_rows(file):
        if header is None:
            header = [str(name).strip() if name is not None else "" for name in row]
        elif any(cell is not None for cell in row):
            yield RowLocation(file.name, number), {name: cell for name, cell in zip(header, row, strict=False) if name}


def _numbered(file: Path, rows: Iterable[TableRow]) -> Iterator[Line]:
    for number, row in enumerate(rows, start=1):
        yield RowLocation(file.name, number), row
