"""Tables of every format: rows keep their location, and a broken row rejects only itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from data.made import build, jsonl, make_image, rejected, samples, save_images
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowmed.data.ingest import columns, tables
from lowmed.data.ingest.detect import ImportOptions, open_source
from lowmed.data.ingest.raw_sample import ImageRoot, RawSample, Rejection, RowLocation
from lowmed.data.ingest.read_row import RowReader
from lowmed.errors import DataError, RecipeError

HEADER = ["Nr", "Datei", "Frage", "Antwort"]
GERMAN = ImportOptions({"question": "Frage", "image": "Datei", "answer": "Antwort", "id": "Nr"})
ROWS = [
    ["1", "a.png", "Läsion?", "ja, links"],
    ["2", "b.png", "Was\nsieht man?", 'ein "Herd"'],
    ["3", "a.png", "CT?", "yes"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_images(tmp_path, "a.png", "b.png")
    return tmp_path


def excel(path: Path) -> None:
    from openpyxl import Workbook  # type: ignore[import-untyped]

    book = Workbook()
    for line in (HEADER, *ROWS, [None] * 4):
        book.active.append(line)
    book.save(path)


def separated(separator: str, encoding: str = "utf-8") -> Any:
    def write(path: Path) -> None:
        import csv

        with path.open("w", newline="", encoding=encoding) as file:
            csv.writer(file, delimiter=separator).writerows((HEADER, *ROWS))

    return write


def parquet(path: Path) -> None:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet as writer

    columns_of = {name: [line[at] for line in ROWS] for at, name in enumerate(HEADER)}
    writer.write_table(pyarrow.table(columns_of), path)


def as_json(path: Path) -> None:
    path.write_text(json.dumps([dict(zip(HEADER, line, strict=True)) for line in ROWS]), encoding="utf-8-sig")


def as_lines(path: Path) -> None:
    rows = (json.dumps(dict(zip(HEADER, line, strict=True)), ensure_ascii=False) for line in ROWS)
    path.write_text("\n".join(rows), encoding="utf-8-sig")


WRITERS = {
    "t.csv": separated(","), "semicolons.csv": separated(";"), "bom.csv": separated(",", "utf-8-sig"),
    "t.tsv": separated("\t"), "t.xlsx": excel, "t.parquet": parquet, "t.json": as_json, "t.jsonl": as_lines,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_table_format_gives_the_same_rows(folder: Path, name: str) -> None:
    WRITERS[name](folder / name)
    opened = open_source(folder / name, GERMAN)
    assert "image=Datei  question=Frage  answer=Antwort  id=Nr" in opened.description
    build(opened, folder / "out")
    assert [(s["id"], s["question"], s["answer"], s["kind"]) for s in samples(folder / "out")] == [
        ("1", "Läsion?", "ja, links", "open"),
        ("2", "Was sieht man?", 'ein "Herd"', "open"),
        ("3", "CT?", "yes", "closed"),
    ]
    assert tables.count_rows(folder / name) >= 3


def test_a_broken_quote_rejects_its_own_line_only(folder: Path) -> None:
    lines = ["id,image,question,answer", '1,a.png,"one?,no', "2,b.png,two?,no", '3,a.png,"three?",no', "4,b.png,four?"]
    (folder / "t.csv").write_text("\n".join([*lines, '5,a.png,"fi"ve?,no', "6,b.png,six?,no"]))
    build(folder / "t.csv", folder / "out", max_rejected=1.0)
    assert [sample["id"] for sample in samples(folder / "out")] == ["2", "3", "6"]
    assert [(line, reason.split(",")[0]) for _, line, reason in rejected(folder / "out")] == [
        (2, "a quote is not closed"),
        (5, "the line has 3 cells and the table 4 columns"),
        (6, "a quote is not closed"),
    ]


def test_lines_that_are_not_utf8_are_named(folder: Path) -> None:
    good = json.dumps({"id": 1, "image": "a.png", "question": "Q?", "answer": "no"}).encode()
    (folder / "t.jsonl").write_bytes(good + b"\n" + "Läsion".encode("latin-1") + b"\n\n" + good.replace(b": 1", b": 2"))
    build(folder / "t.jsonl", folder / "out", max_rejected=1.0)
    assert [sample["id"] for sample in samples(folder / "out")] == ["1", "2"]
    assert rejected(folder / "out") == [("t.jsonl", 2, "the line is not UTF-8")]
    (folder / "t.csv").write_bytes("id,image,question,answer\n1,a.png,Läsion?,ja\n2,a.png,CT?,no".encode("latin-1"))
    build(folder / "t.csv", folder / "out", max_rejected=1.0)
    assert rejected(folder / "out") == [("t.csv", 2, "the line is not UTF-8")]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.xlsx", "t.parquet"])
@pytest.mark.parametrize("content", [b"", "Frage".encode("utf-16"), b"\0\1\2\3" * 50, b"PK\3\4rest"])
def test_a_file_that_is_not_a_table_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises((DataError, RecipeError)) as caught:
        build(folder / name, folder / "out")
    assert caught.value.fix
    assert not (folder / "out").exists()


def test_guessed_columns_can_be_corrected_with_map(folder: Path) -> None:
    table = jsonl(folder / "t.jsonl", {"img": "a.png", "question": "Q?", "answer": "draft", "final": "yes"})
    assert "answer=answer?" in open_source(table, ImportOptions()).description
    opened = open_source(table, ImportOptions({"answer": "final"}))
    assert "answer=final " in opened.description + " "
    build(opened, folder / "out")
    assert samples(folder / "out")[0]["answer"] == "yes"


@pytest.mark.parametrize(
    ("column_map", "message"),
    [
        ({"question": "Frage"}, "there is no column `Frage`; the table has img, text, answer"),
        ({"kuestion": "text"}, "`kuestion` is not a field"),
        ({}, "no column holds the question"),
    ],
)
def test_a_mistake_in_the_columns_names_the_present_ones(
    folder: Path, column_map: dict[str, str], message: str
) -> None:
    table = jsonl(folder / "t.jsonl", {"img": "a.png", "text": "Q?", "answer": "yes"})
    with pytest.raises(RecipeError, match=message.replace("?", r"\?")) as caught:
        open_source(table, ImportOptions(column_map))
    assert "--map" in caught.value.fix


def test_conversations_become_questions(folder: Path) -> None:
    turns = [
        {"from": "human", "value": "<image>\nWhich plane?"}, {"from": "gpt", "value": "axial"},
        {"from": "human", "value": "Is it CT?"}, {"from": "gpt", "value": "Yes"},
    ]  # fmt: skip
    rows = [
        {"id": "a", "image": "a.png", "conversations": turns},
        {"id": "b", "image": "b.png", "conversations": turns[:3]},
        {"id": "c", "image": ["a.png", "b.png"], "messages": [
            {"role": "user", "content": "<image><image>Same?"}, {"role": "assistant", "content": "no"}]},
    ]  # fmt: skip
    (folder / "t.json").write_text(json.dumps(rows))
    build(folder / "t.json", folder / "out", max_rejected=1.0)
    assert [(s["id"], s["question"], s["answer"], len(s["images"])) for s in samples(folder / "out")] == [
        ("a-1", "Which plane?", "axial", 1),
        ("a-2", "Is it CT?", "Yes", 1),
        ("c", "Same?", "no", 2),
    ]
    assert rejected(folder / "out") == [("t.json", 2, "the conversation has 2 questions and 1 answers")]


@pytest.mark.parametrize(
    "cell", [["a.png", "b.png"], '["a.png", "b.png"]', "['a.png', 'b.png']", "a.png;b.png", "a.png | b.png"]
)
def test_several_images_may_be_written_in_several_ways(folder: Path, cell: Any) -> None:
    build(jsonl(folder / "t.jsonl", {"image": cell, "question": "Same?", "answer": "no"}), folder / "out")
    assert len(samples(folder / "out")[0]["images"]) == 2


def test_class_folders_are_choices_and_their_splits_are_kept(folder: Path) -> None:
    for seed, name in enumerate(("train/no_tumour", "train/glioma", "test/glioma", "test/no_tumour")):
        (folder / "set" / name).mkdir(parents=True)
        make_image(seed).save(folder / "set" / name / f"Anna {seed}.png")
    (folder / "set/train/glioma/broken.png").write_bytes(b"")
    (folder / "set/train/glioma/.hidden").write_bytes(b"of a file manager")
    make_image(9).save(folder / "set/train/astray.png")
    build(folder / "set", folder / "out", max_rejected=0.5)
    result = samples(folder / "out")
    assert [(s["split"], s["answer"]) for s in result] == [
        ("test", "glioma"), ("test", "no tumour"), ("train", "glioma"), ("train", "no tumour"),
    ]  # fmt: skip
    assert {tuple(s["options"]) for s in result} == {("glioma", "no tumour")}
    assert rejected(folder / "out") == [
        ("train/glioma/broken.png", None, "the image file is empty"),
        ("train/astray.png", None, "the image is in no class folder"),
    ]
    assert "Anna" not in (folder / "out/samples.jsonl").read_text()


def test_a_folder_of_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no table") as caught:
        open_source(tmp_path / "empty", ImportOptions())
    assert "--as" in caught.value.fix
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path / "gone", ImportOptions())


TEXTS = ["A", "B", "A. left B. right", "['a', 'b']", '{"A": "x"}', "a.png", "../x", "yes", "train", "{" * 40]
NAMES = ["image", "question", "answer", "label", "options", "option_a", "option_b", "id", "kind", "split"]
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=9)
keys = st.sampled_from(["A", "B", "bytes", "path"])
cells = st.recursive(
    plain | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES), cells, max_size=10))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_row_is_a_question_or_rejected_with_a_reason(row: dict[str, Any]) -> None:
    known = columns.map_columns(
        ["image", "question", "answer", "label", "options", "option_a", "option_b", "id", "kind", "split"], {}
    )
    where = RowLocation("t", 1)
    try:
        drafted = RowReader(known, ImageRoot(Path("/missing")), "own").read(row, where)
    except ValueError as error:
        assert str(error)
        return
    assert drafted.kind != "choice" or drafted.answer in drafted.options


@given(st.binary(max_size=400), st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".xlsx", ".parquet"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_rows_or_a_named_mistake(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"t{suffix}"
    header = {".csv": b"id,question,answer\n", ".tsv": b"id\tquestion\tanswer\n"}.get(suffix, b"")
    file.write_bytes(header + content)
    try:
        for _, entry in open_source(file, ImportOptions()).entries:
            assert isinstance(entry, RawSample | Rejection)
    except (DataError, RecipeError) as error:
        assert error.fix


@given(st.lists(st.lists(st.text(alphabet='ab",\n\r;', max_size=8), min_size=3, max_size=3), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_spreadsheet_file_is_read(tmp_path: Path, rows: list[list[str]]) -> None:
    import csv

    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "question", "answer"], *rows])
    read = [row for _, row in tables.read_table(tmp_path / "t.csv")]
    expected = [dict(zip(["id", "question", "answer"], row, strict=True)) for row in rows]
    assert read == expected
