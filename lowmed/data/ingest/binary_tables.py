"""Excel workbooks, Parquet and Arrow files, which others may have damaged or made to exhaust memory.

A library may raise anything on such a file, so everything that it raises is a DataError here, and not in other modules.
"""

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.parsers import expat

from lowmed.errors import DataError, LowmedError

MAX_UNPACKED_BYTES = 256 * 2**20  # of a workbook
MAX_ELEMENTS = 10_000_000  # of its XML; a cell has two
MAX_ELEMENTS_OF_ROW = 100_000
MAX_ROWS = 2**20  # of Excel itself
MAX_CELLS = 50_000_000
MAX_BATCH_ROWS = 64  # of Parquet
MAX_BATCH_BYTES = 256 * 2**20  # if every row were as large as its row group; Python needs several times as much
MAX_RATIO = 1000  # unpacked over stored bytes of a row group of more than MAX_BATCH_BYTES
_SHEET_LIMIT = f"more than {MAX_ROWS} rows or {MAX_CELLS} cells"
_CHUNK = 2**20
_LETTERS = re.compile("[A-Z]{0,3}")
_QUOTED = re.compile(r'"([^"]*)"')  # text that the format of a number adds, such as 0.0" cm"


@contextmanager
def library_errors(file: Path, what: str, fix: str = "copy it again; it may be damaged") -> Iterator[None]:
    """Turn whatever a library raises on a file into a DataError.

    Args:
        file: the file.
        what: what cannot be done.
        fix: what the user can do.

    Raises:
        DataError: the library failed.
    """
    try:
        yield
    except LowmedError:
        raise
    except Exception as error:
        raise DataError(f"{what} ({type(error).__name__})", str(file), fix) from error


def excel_rows(file: Path) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Number and cells of each row of the first sheet, from 1.

    Args:
        file: the workbook.

    Raises:
        DataError: openpyxl is not installed, the file is damaged, or it unpacks to too much.
    """
    try:
        from openpyxl import load_workbook  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError(
            "reading Excel files needs openpyxl, which is not installed", str(file), "save it as CSV"
        ) from error
    what, fix = "this file is not an Excel workbook", "save it again as .xlsx, or as CSV"
    with library_errors(file, what, fix):
        _check_workbook(file)
        book = load_workbook(file, read_only=True, data_only=True)
    try:
        with library_errors(file, what, fix):
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # a wrong one would be filled with empty cells
            rows = sheet.iter_rows()
        number = cells = 0
        while True:
            with library_errors(file, f"row {number + 1} of the Excel sheet cannot be read", fix):
                row = next(rows, None)
            if row is None:
                return
            number += 1
            cells += len(row)
            if number > MAX_ROWS or cells > MAX_CELLS:
                raise _too_large(file, _SHEET_LIMIT)
            yield number, tuple(map(_shown_value, row))
    finally:
        book.close()


def _shown_value(cell: Any) -> Any:
    """The value of a cell; as text if its format adds a percent sign or a unit to a number."""
    value = cell.value
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    shown = str(cell.number_format).partition(";")[0]
    unit = "".join(_QUOTED.findall(shown))
    if "%" in _QUOTED.sub("", shown):
        return f"{round(value * 100, 10):g}%{unit}"
    return f"{value:.15g}{unit}" if unit.strip() else value


def _check_workbook(file: Path) -> None:
    """Refuse a workbook that would unpack to too much, before openpyxl unpacks it."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        # zipfile never unpacks more of a member than it states here.
        if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
            raise _too_large(file, f"more than {MAX_UNPACKED_BYTES // 2**20} MiB when unpacked")
        elements = 0
        for member in members:
            if member.filename.endswith((".xml", ".rels")):
                elements += _count_elements(file, archive, member)
            if elements > MAX_ELEMENTS:
                raise _too_large(file, f"more than {MAX_ELEMENTS} XML elements")


def _count_elements(file: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    counted = in_row = cells = 0
    last_cell = ""

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal counted, in_row, cells, last_cell
        counted += 1
        kind = name.rpartition(":")[2]
        in_row = 0 if kind in ("row", "si") else in_row + 1
        if kind == "c":
            last_cell = attributes.get("r", "")
        elif kind == "row":  # openpyxl fills missing rows, and rows up to their last cell
            cells, last_cell = cells + _column(last_cell), ""
            if _row_number(attributes.get("r", "")) > MAX_ROWS or cells > MAX_CELLS:
                raise _too_large(file, _SHEET_LIMIT)
        if counted > MAX_ELEMENTS or in_row > MAX_ELEMENTS_OF_ROW:
            raise _too_large(file, f"more than {MAX_ELEMENTS_OF_ROW} XML elements in a row, or {MAX_ELEMENTS} in all")

    def doctype(*_declaration: object) -> None:
        raise DataError("the workbook declares XML entities", str(file), "save it again as .xlsx, or as CSV")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    with archive.open(member) as stream:
        while chunk := stream.read(_CHUNK):
            parser.Parse(chunk)
    parser.Parse(b"", True)
    return counted


def _row_number(text: str) -> float:
    """The number of a row; 0 if it has none or a wrong one, which openpyxl reports."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _column(cell: str) -> int:
    """The number of the column in a reference such as `AB12`; 0 if there is none."""
    number = 0
    for letter in _LETTERS.match(cell.upper())[0]:  # type: ignore[index]
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _too_large(file: Path, limit: str) -> DataError:
    return DataError(f"the Excel workbook has {limit}", str(file), "save its table as CSV")


def parquet_rows(file: Path, names: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows, with these columns alone or all.

    Raises:
        DataError: the file is damaged.
    """
    content = open_parquet(file)
    number = 0
    with library_errors(file, "the Parquet file cannot be read"):
        batches = content.iter_batches(batch_size=_batch_rows(file, content.metadata), columns=names)
    while True:
        with library_errors(file, f"the Parquet file cannot be read after row {number}"):
            batch = next(batches, None)
            rows = [] if batch is None else _with_date_texts(batch).to_pylist()
        if batch is None:
            return
        number += len(rows)
        yield from rows


def arrow_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of an Arrow or Feather file, as `save_to_disk` of the `datasets` library writes it.

    Raises:
        DataError: the file is damaged.
    """
    number = 0
    for batch in _arrow_batches(file):
        for start in range(0, batch.num_rows, MAX_BATCH_ROWS):
            with library_errors(file, f"the Arrow file cannot be read after row {number}"):
                rows = _with_date_texts(batch.slice(start, MAX_BATCH_ROWS)).to_pylist()
            number += len(rows)
            yield from rows


def count_arrow_rows(file: Path) -> int:
    """The number of rows of an Arrow or Feather file.

    Raises:
        DataError: the file is damaged.
    """
    return sum(batch.num_rows for batch in _arrow_batches(file))


def _arrow_batches(file: Path) -> Iterator[Any]:
    import pyarrow  # type: ignore[import-untyped]

    with library_errors(file, "this file is not an Arrow file", "copy it again"):
        mapped = pyarrow.memory_map(str(file))
        is_file = mapped.read(6) == b"ARROW1"
        mapped.seek(0)
        content = pyarrow.ipc.open_file(mapped) if is_file else pyarrow.ipc.open_stream(mapped)
        batches = map(content.get_batch, range(content.num_record_batches)) if is_file else iter(content)
    while True:
        with library_errors(file, "the Arrow file cannot be read"):
            batch = next(batches, None)
            if batch is not None:
                batch.validate()
        if batch is None:
            return
        yield batch


def _with_date_texts(batch: Any) -> Any:
    """The batch with texts in place of typed dates, which no spreadsheet made."""
    import pyarrow

    for at, field in enumerate(batch.schema):
        if pyarrow.types.is_temporal(field.type):
            texts = [None if value is None else str(value).removesuffix(" 00:00:00") for value in batch[at].to_pylist()]
            batch = batch.set_column(at, pyarrow.field(field.name, pyarrow.string()), pyarrow.array(texts))
    return batch


def _batch_rows(file: Path, metadata: Any) -> int:
    """Rows to unpack at once. A value that is stored once, in a dictionary, may stand in every row."""
    largest = 1
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(at) for at in range(group.num_columns)]
        unpacked = sum(column.total_uncompressed_size for column in columns)
        if unpacked > max(MAX_BATCH_BYTES, MAX_RATIO * sum(column.total_compressed_size for column in columns)):
            what = f"row group {number} of the Parquet file unpacks to over {MAX_RATIO} times its size"
            raise DataError(what, str(file), "write it again, without the same value of many megabytes in every row")
        largest = max(largest, unpacked)
    return max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES // largest))


def open_parquet(file: Path) -> Any:
    """The file as pyarrow's ParquetFile.

    Raises:
        DataError: it is not a Parquet file.
    """
    from pyarrow import parquet

    with library_errors(file, "this file is not a Parquet file", "copy it again"):
        content = parquet.ParquetFile(file)
        content.schema_arrow, content.metadata.num_rows  # noqa: B018  # damaged ones fail here
        return content
