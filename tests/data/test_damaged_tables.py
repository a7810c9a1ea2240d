"""Tables from others: damaged or hostile files end in a DataError, or reject their rows, and exhaust no memory."""

import io
import json
import os
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from data.made import rejected

from lowmed.api.prepare import prepare
from lowmed.data.ingest import tables
from lowmed.data.ingest.binary_tables import MAX_ELEMENTS_OF_ROW, MAX_UNPACKED_BYTES
from lowmed.data.ingest.detect import ImportOptions
from lowmed.errors import DataError, LowmedError

MUTATIONS = 60
HEADER = ["id", "image", "question", "answer", "options"]
ROWS = [[f"q{n}", f"images/{n}.png", f"Is there a mass, {n}?", "yes" if n % 2 else "no", "yes|no"] for n in range(40)]
SHEET = "xl/worksheets/sheet1.xml"


def xlsx() -> bytes:
    from openpyxl import Workbook  # type: ignore[import-untyped]

    book = Workbook()
    for row in (HEADER, *ROWS):
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def rezipped(changes: dict[str, bytes | None]) -> bytes:
    """The workbook with other content of some members, or without them; the archive itself is intact."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(xlsx())) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as new:
        for name in dict.fromkeys([*old.namelist(), *changes]):
            data = changes[name] if name in changes else old.read(name)
            if data is not None:
                new.writestr(name, data)
    return content.getvalue()


def sheet(rows: str, before: str = "") -> bytes:
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    content = f'<?xml version="1.0"?>{before}<worksheet xmlns="{namespace}"><sheetData>{rows}</sheetData></worksheet>'
    return rezipped({SHEET: content.encode()})


def parquet(**options: object) -> bytes:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet as writer

    content = io.BytesIO()
    columns = {name: [row[at] for row in ROWS] for at, name in enumerate(HEADER)}
    writer.write_table(pyarrow.table(columns), content, row_group_size=10, **options)
    return content.getvalue()


def csv() -> bytes:
    return "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in (HEADER, *ROWS)).encode()


def jsonl() -> bytes:
    return "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS).encode()


def as_json() -> bytes:
    return json.dumps([dict(zip(HEADER, row, strict=True)) for row in ROWS]).encode()


def mutated(content: bytes, generator: random.Random) -> bytes:
    """The bytes with some changed, removed or repeated."""
    result = bytearray(content)
    for _ in range(generator.choice([1, 1, 2, 5, 40])):
        at = generator.randrange(len(result))
        match generator.randrange(5):
            case 0 | 1:
                result[at] ^= 1 << generator.randrange(8)
            case 2:
                result[at] = generator.choice(b'\0\xff"<>&,{}[]\n9')
            case 3:
                del result[at : at + generator.randrange(1, 30)]
            case _:
                result[at:at] = result[at : at + generator.randrange(1, 30)]
        if not result:
            return b"x"
    return bytes(result[: generator.randrange(1, len(result))]) if generator.random() < 0.1 else bytes(result)


def mutated_member(_: bytes, generator: random.Random) -> bytes:
    """The workbook with damaged XML in an intact archive."""
    with zipfile.ZipFile(io.BytesIO(xlsx())) as archive:
        name = generator.choice([SHEET, SHEET, *archive.namelist()])
        return rezipped({name: mutated(archive.read(name), generator)})


def run(file: Path) -> LowmedError | None:
    """Import the table; the error if there is one."""
    try:
        prepare(
            str(file), file.parent / "out", images=False, max_rejected=1.0, options=ImportOptions(image_optional=True)
        )
    except LowmedError as error:
        assert error.what
        assert error.where
        assert error.fix
        return error
    return None


Make = Callable[[], bytes]
Change = Callable[[bytes, random.Random], bytes]
FORMATS: dict[str, tuple[str, Make, Change]] = {
    "xlsx": (".xlsx", xlsx, mutated),
    "xlsx members": (".xlsx", lambda: b"", mutated_member),
    "parquet": (".parquet", parquet, mutated),
    "parquet without compression": (".parquet", lambda: parquet(compression="none", use_dictionary=False), mutated),
    "csv": (".csv", csv, mutated),
    "jsonl": (".jsonl", jsonl, mutated),
    "json": (".json", as_json, mutated),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_mutated_table_is_read_or_refused(tmp_path: Path, name: str) -> None:
    suffix, make, change = FORMATS[name]
    content = make()
    generator = random.Random(name)
    noticed = 0
    for number in range(MUTATIONS):
        file = tmp_path / f"{number}{suffix}"
        file.write_bytes(change(content, generator))
        rejected = tmp_path / "out" / "rejected.jsonl"
        noticed += bool(run(file) or rejected.read_text())
    assert noticed > MUTATIONS / 10  # the damage reached the reader


def test_the_undamaged_tables_are_read(tmp_path: Path) -> None:
    for name, (suffix, make, _) in FORMATS.items():
        file = tmp_path / f"intact{suffix}"
        file.write_bytes(make() or rezipped({}))
        rows = [row for _, row in tables.read_table(file)]
        assert rows == [dict(zip(HEADER, row, strict=True)) for row in ROWS], name
        assert tables.count_rows(file) == len(ROWS)
        assert run(file) is None


def refused(file: Path, content: bytes) -> str:
    """The error, whose memory is limited."""
    file.write_bytes(content)
    tracemalloc.start()
    error = run(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, DataError), error
    assert peak < 150 * 2**20
    assert str(file) in error.where
    return error.what


ROW = '<row r="1"><c r="A1" t="inlineStr"><is><t>question</t></is></c></row>'
LAUGH = '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>'
WORKBOOKS: dict[str, tuple[Make, str]] = {
    "no archive": (lambda: b"PK\3\4 no zip", "not an Excel workbook"),
    "no members": (
        lambda: rezipped(dict.fromkeys(["xl/workbook.xml", "[Content_Types].xml"])),
        "not an Excel workbook",
    ),
    "no sheet": (lambda: rezipped({SHEET: None}), "not an Excel workbook"),
    "broken XML": (lambda: rezipped({SHEET: b"<worksheet><sheetData>"}), "not an Excel workbook"),
    "no XML": (lambda: rezipped({SHEET: b"\0\1"}), "not an Excel workbook"),
    "entities": (lambda: sheet(f"{ROW}&b;", LAUGH), "declares XML entities"),
    "blanks": (lambda: rezipped({SHEET: b" " * (600 * 2**20)}), "256 MiB when unpacked"),
    "blanks elsewhere": (lambda: rezipped({"xl/media/a.bin": bytes(600 * 2**20)}), "256 MiB when unpacked"),
    "wide row": (lambda: sheet(f"<row>{'<c/>' * (MAX_ELEMENTS_OF_ROW + 2)}</row>"), "XML elements in a row"),
    "distant row": (lambda: sheet(f'{ROW}<row r="2000000000"><c/></row>'), "more than 1048576 rows"),
    "wide cells": (lambda: sheet('<row><c r="ZZZ1"><v>1</v></c></row>' * 3000), "50000000 cells"),
    "no number": (lambda: sheet(f'{ROW}<row r="x"><c r="A1"/></row>'), "row 2 of the Excel sheet"),
    "no reference": (lambda: sheet(f'{ROW}<row r="2"><c r="1A"><v>1</v></c></row>'), "row 2 of the Excel sheet"),
    "no shared text": (lambda: sheet(f'{ROW}<row r="2"><c r="A2" t="s"><v>99</v></c></row>'), "row 2 of the Excel"),
}


@pytest.mark.parametrize("name", WORKBOOKS)
def test_a_hostile_workbook_is_refused(tmp_path: Path, name: str) -> None:
    make, expected = WORKBOOKS[name]
    content = make()
    assert len(content) < 2**20
    assert expected in refused(tmp_path / "t.xlsx", content)


def test_a_stated_size_that_is_too_small_does_not_hide_the_content(tmp_path: Path) -> None:
    content = bytearray(rezipped({SHEET: b" " * (600 * 2**20)}))
    size = (600 * 2**20).to_bytes(4, "little")
    while (at := content.find(size)) >= 0:
        content[at : at + 4] = (1000).to_bytes(4, "little")
    assert "not an Excel workbook" in refused(tmp_path / "t.xlsx", bytes(content))


def test_a_dimension_that_claims_a_whole_sheet_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "t.xlsx"
    with zipfile.ZipFile(io.BytesIO(xlsx())) as archive:
        text = archive.read(SHEET).decode().replace("A1:E41", "A1:XFD1048576")
    file.write_bytes(rezipped({SHEET: text.encode()}))
    assert "XFD1048576" in text
    assert sum(1 for _ in tables.read_table(file)) == len(ROWS)


def test_damaged_pages_and_footers_of_parquet_are_refused(tmp_path: Path) -> None:
    content = parquet(compression="snappy")
    for damage in (
        content[:-1],
        content[:-8] + b"\xff\xff\xff\x7fPAR1",
        b"PAR1" + content[4:-8] + bytes(8),
        b"PAR1PAR1",
    ):
        assert "not a Parquet file" in refused(tmp_path / "t.parquet", damage)
    pages = bytearray(content)
    pages[4:2000] = bytes(1996)
    assert "cannot be read after row 0" in refused(tmp_path / "t.parquet", bytes(pages))
    late = content.rfind(b"PAR1", 0, len(content) - 4)
    assert late <= 0  # only at both ends


def test_parquet_columns_of_any_type_are_read_or_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet as writer

    deep = pa.string()
    value: object = "x"
    for _ in range(40):
        deep, value = pa.list_(deep), [value]
    columns = [
        pa.array([value], deep),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([{"a": [{"b": 1}]}]),
        pa.array([2**62], pa.timestamp("ns")),
        pa.array([2**50], pa.timestamp("s")),
        pa.array([-(2**31)], pa.date32()),
        pa.array([2**62], pa.duration("s")),
        pa.array([b"\xff\xfe"], pa.binary()),
        pa.Array.from_buffers(pa.string(), 1, [None, *map(pa.py_buffer, (bytes([0, 0, 0, 0, 1, 0, 0, 0]), b"\xff"))]),
        pa.array(["a"]).dictionary_encode(),
        pa.array([None], pa.null()),
        pa.array([float("nan")]),
        pa.array([True]),
    ]  # fmt: skip
    file = tmp_path / "t.parquet"
    for column in columns:
        for name in ("question", "answer", "options", "image", "id", "history", "conversations", "lower"):
            texts = {one: pa.array(["yes"]) for one in ("question", "answer", "image") if one != name}
            writer.write_table(pa.table(texts | {name: column}), file)
            run(file)


def test_a_large_value_that_stands_in_every_row_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet as writer

    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), pa.array(["x" * 20_000_000]))
    content = io.BytesIO()
    writer.write_table(pa.table({f"c{number}": repeated for number in range(16)}), content, compression="zstd")
    assert len(content.getvalue()) < 20_000
    assert "over 1000 times its size" in refused(tmp_path / "t.parquet", content.getvalue())


def test_repeated_columns_of_parquet_are_read_or_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet as writer

    file = tmp_path / "t.parquet"
    writer.write_table(pa.table([pa.array(["a"])] * 3, names=["question", "question", "answer"]), file)
    run(file)


def test_a_row_of_any_depth_is_refused_alone(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    plain = '{"question": "Is there a mass?", "answer": "yes"}'
    for depth in (31, 50, 500, 900, 980, 100_000):
        nested = "[" * depth + "]" * depth
        deep = f'{{"question": "Is there a mass?", "answer": "yes", "conversations": {nested}, "options": {nested}}}'
        file.write_text(f"{plain}\n{deep}\n")
        rows = [row for _, row in tables.read_table(file)]
        assert isinstance(rows[1], str), depth
        assert run(file) is None
    (tmp_path / "t.json").write_text("[" * 100_000)
    assert isinstance(run(tmp_path / "t.json"), DataError)


def test_a_truncated_last_line_is_rejected_alone(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(jsonl()[:-20])
    rows = [row for _, row in tables.read_table(file)]
    assert rows[-1] == "the line is not JSON"
    assert len(rows) == len(ROWS)
    assert not any(isinstance(row, str) for row in rows[:-1])


def test_nul_bytes_and_a_huge_field_of_csv_reject_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(
        b"question,answer\nIs\0 it?,yes\n\0\0\0\nIs it?,no\n" + b"x" * (10 * 2**20) + b",yes\nIs it?,yes\n"
    )
    rows = [row for _, row in tables.read_table(file)]
    assert [isinstance(row, str) for row in rows] == [False, True, False, False, False]
    assert run(file) is None
    assert [reason for _, _, reason in rejected(tmp_path / "out")][1].startswith("a cell holds a text of 10,485,760")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_line_of_100_mb_is_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"t{suffix}"
    file.write_bytes(b"question,answer\n" + b"x" * 100_000_000)
    error = run(file)
    assert isinstance(error, DataError)
    assert "a line is longer than 64 MiB" in error.what
    assert error.where == f"{file}:2"


def test_the_size_of_a_json_file_is_limited_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text("[")
    os.truncate(file, 2**40)
    error = run(file)
    assert error
    assert "larger than 512 MiB" in error.what
    assert MAX_UNPACKED_BYTES < 600 * 2**20


@pytest.mark.parametrize(
    "name", ["a\0b.png", "x" * 300 + ".png", "../" * 50 + "etc/passwd", "/dev/zero", "~", ".", "\ud800.png"]
)
def test_an_image_of_any_name_rejects_its_row(tmp_path: Path, name: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"image": name, "question": "Is there a mass?", "answer": "yes"}))
    with pytest.raises(DataError):
        prepare(str(file), tmp_path / "out")
