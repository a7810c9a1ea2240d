"""The same rows give the same samples from every container."""

import base64
import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data.made import build, make_image, samples, save_images
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.data.ingest.detect import ImportOptions, open_source
from lowmed.data.ingest.raw_sample import RawSample, Rejection
from lowmed.errors import DataError

Rows = list[dict[str, Any]]


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row for a container whose cells hold texts only."""
    return {
        name: json.dumps(cell, ensure_ascii=False) if isinstance(cell, list | dict) else cell
        for name, cell in row.items()
    }


def write_separated(path: Path, rows: Rows, delimiter: str = ",", encoding: str = "utf-8") -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, names, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(map(flat, rows))


def write_excel(path: Path, rows: Rows) -> None:
    from openpyxl import Workbook  # type: ignore[import-untyped]

    book = Workbook()
    names = list(dict.fromkeys(name for row in rows for name in row))
    book.active.append(names)
    for row in map(flat, rows):
        book.active.append([row.get(name) for name in names])
    book.save(path)


def table_of(rows: Rows) -> Any:
    import pyarrow as pa  # type: ignore[import-untyped]

    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def write_parquet(path: Path, rows: Rows) -> None:
    from pyarrow import parquet

    parquet.write_table(table_of(rows), path)


def write_arrow(path: Path, rows: Rows) -> None:
    import pyarrow as pa

    table = table_of(rows)
    opened = pa.ipc.new_file if path.suffix == ".feather" else pa.ipc.new_stream
    with opened(str(path), table.schema) as writer:
        writer.write_table(table)


def write_zip(path: Path, rows: Rows) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/table.json", json.dumps(rows))
        for image in path.parent.glob("*.png"):
            archive.write(image, f"set/{image.name}")


def by_column(rows: Rows) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return json.dumps({name: {str(at): row.get(name) for at, row in enumerate(rows)} for name in names})


CONTAINERS: dict[str, Callable[[Path, Rows], Any]] = {
    "list.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "in_object.json": lambda path, rows: path.write_text(json.dumps({"version": 1, "data": rows})),
    "columns.json": lambda path, rows: path.write_text(by_column(rows)),
    "utf16.json": lambda path, rows: path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-16"),
    "lines.jsonl": lambda path, rows: path.write_text("".join(f"{json.dumps(row)}\n" for row in rows)),
    "lines.json": lambda path, rows: path.write_text("".join(f"{json.dumps(row)}\n" for row in rows)),
    "comma.csv": write_separated,
    "semicolon.csv": lambda path, rows: write_separated(path, rows, ";"),
    "utf16.csv": lambda path, rows: write_separated(path, rows, encoding="utf-16"),
    "mark.csv": lambda path, rows: write_separated(path, rows, encoding="utf-8-sig"),
    "tabs.tsv": lambda path, rows: write_separated(path, rows, "\t"),
    "book.xlsx": write_excel,
    "table.parquet": write_parquet,
    "stream.arrow": write_arrow,
    "file.feather": write_arrow,
    "set.zip": write_zip,
}


def read(path: Path) -> list[RawSample | str]:
    entries = (entry for _, entry in open_source(path, ImportOptions()).entries)
    return [entry.reason if isinstance(entry, Rejection) else replace(entry, images=()) for entry in entries]


words = st.text(st.sampled_from("abc xyzäé?.,;:\"'()ABC123%<>|中文\n"), min_size=1, max_size=24)
options = st.lists(
    st.sampled_from(["CT", "MRI", "X-ray", "left, upper", "a;b", "1.5 T"]), min_size=2, max_size=4, unique=True
)
plain_row = st.fixed_dictionaries(
    {"image": st.sampled_from(["0.png", "1.png"]), "question": words, "answer": words},
    optional={
        "options": options,
        "split": st.sampled_from(["train", "test"]),
        "patient": st.sampled_from(["p1", "p2"]),
    },
)
turns = st.lists(st.tuples(words, words), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(plain_row, min_size=1, max_size=4))
@pytest.mark.parametrize("name", CONTAINERS)
def test_rows_are_the_same_in_every_container(name: str, rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / name
    CONTAINERS[name](path, rows)
    (tmp_path / "reference.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert read(path) == read(tmp_path / "reference.jsonl")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations=st.lists(turns, min_size=1, max_size=3))
@pytest.mark.parametrize("name", CONTAINERS)
def test_conversations_are_the_same_in_every_container_and_form(
    name: str, conversations: list[list[tuple[str, str]]], tmp_path: Path
) -> None:
    llava: list[Any] = [
        {"image": "0.png", "conversations": [
            {"from": role, "value": text}
            for pair in pairs for role, text in zip(("human", "gpt"), pair, strict=True)
        ]} for pairs in conversations
    ]  # fmt: skip
    chat: list[Any] = [
        {"image": "0.png", "messages": [
            {"role": {"human": "user", "gpt": "assistant"}[turn["from"]], "content": turn["value"]}
            for turn in row["conversations"]
        ]} for row in llava
    ]  # fmt: skip
    blocks: list[Any] = [
        {"image": "0.png", "messages": [
            {"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in row["messages"]
        ]} for row in chat
    ]  # fmt: skip
    (tmp_path / "reference.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in llava))
    expected = read(tmp_path / "reference.jsonl")
    for form in (llava, chat, blocks):
        CONTAINERS[name](tmp_path / name, form)
        assert read(tmp_path / name) == expected


def png(seed: int) -> bytes:
    file = io.BytesIO()
    make_image(seed).save(file, "PNG")
    return file.getvalue()


def data_uri(seed: int) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(seed)).decode()}"


IMAGES: dict[str, Callable[[int], Any]] = {
    "name": lambda seed: f"{seed}.png",
    "list": lambda seed: [f"{seed}.png"],
    "base64": lambda seed: base64.b64encode(png(seed)).decode(),
    "data URI": data_uri,
    "list of base64": lambda seed: [base64.b64encode(png(seed)).decode()],
    "url object": lambda seed: {"url": data_uri(seed)},
    "struct": lambda seed: {"bytes": png(seed), "path": None},
    "list of structs": lambda seed: [{"bytes": png(seed), "path": "x.png"}],
    "bytes": png,
    "path struct": lambda seed: {"bytes": None, "path": f"{seed}.png"},
}


@pytest.mark.parametrize(
    "container", ["list.json", "lines.jsonl", "comma.csv", "tabs.tsv", "table.parquet", "stream.arrow"]
)
@pytest.mark.parametrize("form", IMAGES)
def test_images_are_the_same_in_every_form(tmp_path: Path, form: str, container: str) -> None:
    rows = [{"image": IMAGES[form](seed), "question": f"Is there a mass, {seed}?", "answer": "no"} for seed in (0, 1)]
    is_binary = form in ("struct", "list of structs", "bytes")
    if is_binary and not container.endswith((".parquet", ".arrow")):
        pytest.skip("text files hold no bytes")
    save_images(tmp_path, "0.png", "1.png")
    CONTAINERS[container](tmp_path / container, rows)
    build(tmp_path / container, tmp_path / "out")
    named = [{**row, "image": f"{seed}.png"} for seed, row in enumerate(rows)]
    CONTAINERS["list.json"](tmp_path / "named.json", named)
    build(tmp_path / "named.json", tmp_path / "named")
    assert samples(tmp_path / "out") == samples(tmp_path / "named")


def test_a_folder_of_shards_and_splits_is_one_data_set(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = [{"question": f"Is there a mass, {number}?", "answer": "no", "image": png(number)} for number in range(4)]
    hub = tmp_path / "hub"
    (hub / "data").mkdir(parents=True)
    write_parquet(hub / "data/train-00000-of-00002.parquet", rows[:1])
    write_parquet(hub / "data/train-00001-of-00002.parquet", rows[1:2])
    write_parquet(hub / "data/test-00000-of-00001.parquet", rows[2:])
    (hub / "README.md").write_text("---\n")
    saved = tmp_path / "saved"
    DatasetDict({"train": Dataset.from_list(rows[:2]), "test": Dataset.from_list(rows[2:])}).save_to_disk(str(saved))
    image_of = {f"Is there a mass, {number}?": pixels_of(png(number)) for number in range(4)}
    for folder in (hub, saved):
        build(folder, tmp_path / "out")
        imported = samples(tmp_path / "out")
        assert sorted((each["question"], each["split"]) for each in imported) == sorted(
            (row["question"], "train" if at < 2 else "test") for at, row in enumerate(rows)
        )
        for each in imported:  # tables of several splits have one name, and their images must not be mixed up
            assert pixels_of((tmp_path / "out" / each["images"][0]).read_bytes()) == image_of[each["question"]]


def pixels_of(content: bytes) -> bytes:
    return prepare(Image.open(io.BytesIO(content)), PixelPolicy(64)).tobytes()


def test_an_archive_with_tables_in_two_folders_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for folder in ("a", "b"):
            archive.writestr(f"{folder}/train.json", json.dumps([{"question": "Why?", "answer": folder * 3}]))
    with pytest.raises(DataError, match="several folders of the archive have tables"):
        read(tmp_path / "t.zip")


def test_an_index_in_the_place_of_an_image_names_the_row_that_holds_it(tmp_path: Path) -> None:
    encoded = base64.b64encode(png(0)).decode()
    rows = [
        {"index": 0, "image": encoded, "question": "Which plane?", "A": "axial", "B": "coronal", "answer": "A"},
        {"index": 1, "image": "0", "question": "Which modality?", "A": "CT", "B": "MRI", "answer": "B"},
    ]
    write_separated(tmp_path / "t.tsv", rows, "\t")
    build(tmp_path / "t.tsv", tmp_path / "out")
    first, second = samples(tmp_path / "out")
    assert first["images"] == second["images"]
