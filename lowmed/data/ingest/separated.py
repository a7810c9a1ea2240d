"""Records of CSV and TSV files, with bounded memory. A quote that is never closed rejects its own line only."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from lowmed.data.ingest.raw_sample import RowLocation
from lowmed.data.ingest.text_files import MAX_LINE_BYTES, decoded_lines
from lowmed.errors import DataError

MAX_RECORD_LINES = 1000  # a record with more has a quote that is never closed
csv.field_size_limit(MAX_LINE_BYTES)
NOT_UTF8 = "the line is not UTF-8"


def separated_rows(file: Path, encoding: str | None = None) -> Iterator[tuple[RowLocation, dict[str, str] | str]]:
    """The records by column; a text with the reason for a line that cannot be read.

    Args:
        file: the file; `.tsv` is separated by tabs, any other by what its first line has most of.
        encoding: as of `decoded_lines`.

    Raises:
        DataError: the first line cannot be read, or the file is in another encoding.
    """
    lines = _Lines(decoded_lines(file, encoding))
    first = lines.peek()
    separator = "\t" if file.suffix.lower() == ".tsv" else _separator(first[1] or "" if first else "")
    header, used = lines.record(separator)
    if header is None:
        fix = "the first line must contain the column names, in UTF-8"
        raise DataError("the first line of the table cannot be read", str(file), fix)
    lines.skip(used)
    while following := lines.peek():
        number, line = following
        record, used = lines.record(separator)
        location = RowLocation(file.name, number)
        if line is not None and not line.strip():
            lines.skip(1)
        elif record is not None and len(record) == len(header):
            yield location, dict(zip(header, record, strict=True))
            lines.skip(used)
        else:
            reason = NOT_UTF8 if line is None else "a quote is not closed, or not the end of its cell"
            if record is not None and used == 1:
                reason = f"the line has {len(record)} cells and the table {len(header)} columns"
            yield location, reason
            lines.skip(1)


class _Lines:
    """The lines from the next record on, read as far as a record needs them."""

    def __init__(self, lines: Iterator[tuple[int, str | None]]) -> None:
        self._lines = lines
        self._read: deque[tuple[int, str | None]] = deque()

    def peek(self) -> tuple[int, str | None] | None:
        """The next line; None at the end."""
        return self._read[0] if self._fill(1) else None

    def skip(self, count: int) -> None:
        """Drop the next lines."""
        for _ in range(count):
            self._read.popleft()

    def record(self, separator: str) -> tuple[list[str] | None, int]:
        """The record that begins on the next line, or None if it is broken, and the number of its lines."""
        reader = csv.reader(self._text(), delimiter=separator, strict=True)
        try:
            record = next(reader, None)
        except csv.Error:
            return None, 1
        return record, max(reader.line_num, 1)

    def _text(self) -> Iterator[str]:
        """The next lines until one that cannot be decoded."""
        size = 0
        for at in range(MAX_RECORD_LINES):
            line = self._read[at][1] if self._fill(at + 1) else None
            if line is None or size > MAX_LINE_BYTES:
                return
            size += len(line)
            yield line

    def _fill(self, count: int) -> bool:
        while len(self._read) < count:
            line = next(self._lines, None)
            if line is None:
                return False
            self._read.append(line)
        return True


def _separator(header: str) -> str:
    return max(",;\t|", key=header.count)
