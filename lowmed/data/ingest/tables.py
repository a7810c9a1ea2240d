"""Read tables of questions from any common file format, as rows with their location."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from lowmed.data.ingest import conversations
from lowmed.data.ingest.raw_sample import RowLocation
from lowmed.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".xlsx", ".parquet")
TableRow = Mapping[str, Any]
Line = tuple[RowLocation, TableRow | str]  # a text states why the line cannot be read

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
    for location, row in lines:
        for question in conversations.questions(dict(row), turns) if not isinstance(row, str) else (row,):
            yield location, question


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
            content = _parquet_file(file)
            if keys := conversations.keys_of(content.schema_arrow.names):
                return sum(1 for _ in split_conversations(_parquet(file, keys), turns))
            return int(content.metadata.num_rows)
    with file.open("rb") as lines:
        return sum(1 for line in lines if line.strip()) - (file.suffix.lower() in (".csv", ".tsv"))


def column_names(lines: Iterable[Line]) -> list[str]:
    """The columns that occur in these lines, in order of first occurrence."""
    return list(dict.fromkeys(name for _, row in lines if not isinstance(row, str) for name in row))


def _decoded(file: Path) -> Iterator[tuple[int, str | None]]:
    """Number and text of each line; None for a line that is not UTF-8."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError("the table is UTF-16", str(file), "save it as UTF-8 (in Excel: CSV UTF-8)")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                yield number, None


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
    from zipfile import BadZipFile

    try:
        from openpyxl import load_workbook  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError(
            "reading Excel files needs openpyxl, which is not installed", str(file), "save it as CSV"
        ) from error
    try:
        book = load_workbook(io.BytesIO(file.read_bytes()), read_only=True, data_only=True)
        rows = list(book.worksheets[0].iter_rows(values_only=True))
    except (BadZipFile, KeyError, ValueError, OSError, IndexError, EOFError, TypeError, AttributeError) as error:
        what = f"this file is not an Excel workbook ({type(error).__name__})"
        raise DataError(what, str(file), "save it again as .xlsx, or as CSV") from error
    header = [str(name).strip() if name is not None else "" for name in rows[0]] if rows else []
    for number, row in enumerate(rows[1:], start=2):
        if any(cell is not None for cell in row):
            yield RowLocation(file.name, number), {name: cell for name, cell in zip(header, row, strict=False) if name}


def _parquet(file: Path, names: list[str] | None = None) -> Iterator[Line]:
    """The rows, with these columns alone or all."""
    number = 0
    for batch in _parquet_file(file).iter_batches(batch_size=64, columns=names):
        for row in batch.to_pylist():
            number += 1
            yield RowLocation(file.name, number), row


def _parquet_file(file: Path) -> Any:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        what = f"this file is not a Parquet file ({type(error).__name__})"
        raise DataError(what, str(file), "copy it again") from error
