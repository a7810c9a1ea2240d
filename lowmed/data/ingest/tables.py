"""Read tables of questions from any common file format, as rows with their location."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from lowmed.data.ingest import binary_tables, conversations
from lowmed.data.ingest.raw_sample import RowLocation
from lowmed.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".xlsx", ".parquet")
TableRow = Mapping[str, Any]
Line = tuple[RowLocation, TableRow | str]  # a text states why the line cannot be read

MAX_LINE_BYTES = 64 * 2**20
MAX_JSON_BYTES = 512 * 2**20
MAX_DEPTH = 32  # of lists and objects in a row
csv.field_size_limit(2**20)  # a longer cell means that a quote was never closed


def read_table(file: Path, turns: conversations.TurnsKept = "all") -> Iterator[Line]:
    """The rows of a table, one at a time; a row that cannot be read is a text with the reason.

    Args:
        file: the table.
        turns: the turns of a conversation that become questions.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    if not file.is_file():
        raise DataError("the table does not exist", str(file), f"name a file that ends in {', '.join(SUFFIXES)}")
    if not file.stat().st_size:
        raise DataError("the table is empty", str(file), "write one question a line")
    match file.suffix.lower():
        case ".jsonl" | ".ndjson":
            return split_conversations(_json_lines(file), turns)
        case ".json":
            return split_conversations(_json(file), turns)
        case ".csv" | ".tsv":
            return _separated(file)
        case ".xlsx":
            return _excel(file)
        case ".parquet":
            return split_conversations(_parquet(file), turns)
    raise DataError(f"`{file.suffix}` is not a supported table format", str(file), f"use one of {', '.join(SUFFIXES)}")


def split_conversations(lines: Iterable[Line], turns: conversations.TurnsKept) -> Iterator[Line]:
    """The same lines, with each conversation as the rows of its turns."""
    for location, read in lines:
        row = "the row is nested too deeply" if _is_deep(read) else read
        for question in conversations.questions(dict(row), turns) if not isinstance(row, str) else (row,):
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


def count_rows(file: Path, turns: conversations.TurnsKept = "all") -> int:
    """About how many rows the table has, for a progress bar; arguments as of `read_table`.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    match file.suffix.lower():
        case ".json" | ".xlsx":
            return sum(1 for _ in read_table(file, turns))
        case ".jsonl" | ".ndjson" if "history" in column_names(islice(read_table(file), 1)):
            return sum(1 for _ in read_table(file, turns))
        case ".parquet":
            content = binary_tables.open_parquet(file)
            if keys := conversations.keys_of(content.schema_arrow.names):
                return sum(1 for _ in split_conversations(_parquet(file, keys), turns))
            return int(content.metadata.num_rows)
    return sum(1 for line in _lines(file) if line.strip()) - (file.suffix.lower() in (".csv", ".tsv"))


def column_names(lines: Iterable[Line]) -> list[str]:
    """The columns that occur in these lines, in order of first occurrence."""
    return list(dict.fromkeys(name for _, row in lines if not isinstance(row, str) for name in row))


def _decoded(file: Path) -> Iterator[tuple[int, str | None]]:
    """Number and text of each line; None for a line that is not UTF-8."""
    for number, line in enumerate(_lines(file), start=1):
        if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError("the table is UTF-16", str(file), "save it as UTF-8 (in Excel: CSV UTF-8)")
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield number, None


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        number = 0
        while line := content.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                what = f"a line is longer than {MAX_LINE_BYTES // 2**20} MiB"
                raise DataError(what, f"{file}:{number}", "write one question a line; a quote may not be closed")
            yield line


def _json_lines(file: Path) -> Iterator[Line]:
    for number, line in _decoded(file):
        location = RowLocation(file.name, number)
        if line is None:
            yield location, "the line is not UTF-8"
        elif line.strip():
            yield location, _object(line)


def _object(line: str) -> TableRow | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "the line is not JSON"
    return row if isinstance(row, dict) else "the line is not a JSON object"


def _json(file: Path) -> Iterator[Line]:
    if file.stat().st_size > MAX_JSON_BYTES:
        what = f"the JSON file is larger than {MAX_JSON_BYTES // 2**20} MiB"
        raise DataError(what, str(file), "write JSON lines: one object a line, in a file that ends in .jsonl")
    try:
        content = json.loads(file.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"this is not JSON in UTF-8 ({error})", str(file), "copy it again; it may be truncated"
        ) from error
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else list(content.values())
    if not isinstance(content, list):
        raise DataError("the JSON file contains no list of rows", str(file), "write a list of objects, one a question")
    for number, row in enumerate(content, start=1):
        if not isinstance(row, dict):
            yield RowLocation(file.name, number), "the row is not a JSON object"
            continue
        yield RowLocation(file.name, number), row


def _separated(file: Path) -> Iterator[Line]:
    """Records of a CSV file. A quote that is never closed rejects its own line only."""
    lines = list(_decoded(file))
    separator = "\t" if file.suffix.lower() == ".tsv" else _separator(lines[0][1] or "")
    header, start = _record(lines, 0, separator)
    if header is None:
        raise DataError(
            "the first line of the table cannot be read",
            str(file),
            "the first line must contain the column names, in UTF-8",
        )
    while start < len(lines):
        number, line = lines[start]
        location = RowLocation(file.name, number)
        record, end = _record(lines, start, separator)
        if line is not None and not line.strip():
            start += 1
        elif record is not None and len(record) == len(header):
            yield location, dict(zip(header, record, strict=True))
            start = end
        else:
            reason = "the line is not UTF-8" if line is None else "a quote is not closed, or not the end of its cell"
            if record is not None and end == start + 1:
                reason = f"the line has {len(record)} cells and the table {len(header)} columns"
            yield location, reason
            start += 1


def _separator(header: str) -> str:
    return max(",;\t", key=header.count)


def _record(lines: list[tuple[int, str | None]], start: int, separator: str) -> tuple[list[str] | None, int]:
    """The record that begins on a line, or None if it is broken, and the index of the line after it."""
    following = (line for _, line in lines[start : start + 1000] if line is not None)
    if lines[start][1] is None:
        return None, start + 1
    reader = csv.reader(following, delimiter=separator, strict=True)
    try:
        record = next(reader, [])
    except csv.Error:
        return None, start + 1
    return record, start + max(reader.line_num, 1)


def _excel(file: Path) -> Iterator[Line]:
    header: list[str] | None = None
    for number, row in binary_tables.excel_rows(file):
        if header is None:
            header = [str(name).strip() if name is not None else "" for name in row]
        elif any(cell is not None for cell in row):
            yield RowLocation(file.name, number), {name: cell for name, cell in zip(header, row, strict=False) if name}


def _parquet(file: Path, names: list[str] | None = None) -> Iterator[Line]:
    """The rows, with these columns alone or all."""
    for number, row in enumerate(binary_tables.parquet_rows(file, names), start=1):
        yield RowLocation(file.name, number), row
