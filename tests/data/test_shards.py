"""Shards of an import: merged, they give the folder of an import without shards, to the byte."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lowmed.api.prepare import prepare
from lowmed.api.prepare_shard import prepare_shard
from lowmed.data.ingest.detect import ImportOptions
from lowmed.errors import DataError, LowmedError, RecipeError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """60 rows: shared images, two images in a row, equal rows, equal ids, damaged and missing files."""
    folder, draw = tmp_path / "source", random.Random(0)
    (folder / "scans").mkdir(parents=True)
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "scans" / f"patient{number}.png")
    shutil.copyfile(folder / "scans" / "patient3.png", folder / "scans" / "copy.png")  # one file under two names
    (folder / "scans" / "damaged.png").write_bytes(b"no image")
    names = [f"patient{number}.png" for number in range(24)] + ["copy.png"]
    rows: list[dict[str, Any]] = []
    for number in range(60):
        chosen = [f"scans/{name}" for name in draw.sample(names, 2 if number % 10 == 0 else 1)]
        row = {"id": f"q{number % 15}" if number > 40 else "", "question": f"Is there a finding ({number % 50})?"}
        rows.append({**row, "answer": draw.choice(["yes", "no"]), "images": chosen, "split": "train"})
    rows[7]["images"], rows[31]["images"] = ["scans/damaged.png"], ["scans/missing.png"]
    rows[50] = dict(rows[12])
    path = folder / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _shards(table: Path, of: int, out: Path, **options: Any) -> list[Path]:
    folders = [out / f"s{number}" for number in range(1, of + 1)]
    for number, folder in enumerate(folders, start=1):
        prepare_shard(str(table), folder, f"{number}/{of}", **options)
    return folders


@pytest.mark.parametrize("of", [1, 3, 30])
def test_the_merge_equals_an_import_without_shards_to_the_byte(table: Path, tmp_path: Path, of: int) -> None:
    plain = prepare(str(table), tmp_path / "plain" / "data", max_rejected=0.5)
    merged = prepare(str(table), tmp_path / "merged" / "data", merge=_shards(table, of, tmp_path), max_rejected=0.5)
    assert _content(tmp_path / "merged") == _content(tmp_path / "plain")
    assert (merged.rows, merged.rejected, merged.kinds) == (plain.rows, plain.rejected, plain.kinds)
    assert {reason.reason for reason in plain.rejected} >= {"an earlier row has the same id"}


def test_each_image_is_stored_by_one_shard_and_read_by_no_merge(table: Path, tmp_path: Path) -> None:
    folders = _shards(table, 3, tmp_path)
    stored = [{path.name for path in (folder / "images").iterdir()} for folder in folders]
    assert all(stored)
    expected = _content_of(prepare(str(table), tmp_path / "plain", max_rejected=0.5).folder)
    assert {f"images/{name}" for name in set.union(*stored)} >= {
        name for name in expected if name.startswith("images/")
    }
    assert sum(map(len, stored)) <= len(set.union(*stored)) + 1  # the file under two names may be in two shards
    for path in (table.parent / "scans").glob("patient*.png"):  # same size and time, so the merge need not read it
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    out = prepare(str(table), tmp_path / "out", merge=folders, max_rejected=0.5).folder
    assert _content_of(out) == expected


def _content_of(folder: str) -> dict[str, bytes]:
    return _content(Path(folder))


def test_a_source_that_changed_since_is_read_again(table: Path, tmp_path: Path) -> None:
    folders = _shards(table, 2, tmp_path)
    Image.new("L", (50, 50), 7).save(table.parent / "scans" / "patient1.png")
    plain = prepare(str(table), tmp_path / "plain", max_rejected=0.5)
    merged = prepare(str(table), tmp_path / "out", merge=folders, max_rejected=0.5)
    assert _content_of(merged.folder) == _content_of(plain.folder)


def test_an_image_that_changed_in_a_shard_is_refused_and_a_missing_one_is_stored_again(
    table: Path, tmp_path: Path
) -> None:
    folders, out = _shards(table, 2, tmp_path), tmp_path / "out"
    first, second, *_ = sorted((folders[0] / "images").iterdir())
    plain = prepare(str(table), tmp_path / "plain", max_rejected=0.5)
    first.unlink()
    merged = prepare(str(table), out, merge=folders, max_rejected=0.5)
    assert _content_of(merged.folder) == _content_of(plain.folder)
    shutil.rmtree(out)
    second.unlink()
    second.write_bytes(b"cut off")
    with pytest.raises(DataError, match="changed after they were stored"):
        prepare(str(table), out, merge=folders, max_rejected=0.5)
    assert not out.exists()


def _replaced(field: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        record = json.loads((folder / "shard.json").read_text())
        (folder / "shard.json").write_text(json.dumps(record | {field: value}))

    return change


def test_shards_that_do_not_make_the_source_are_refused(table: Path, tmp_path: Path) -> None:
    one, two = _shards(table, 2, tmp_path / "a")
    other, _ = _shards(table, 3, tmp_path / "b")[:2]
    small = _shards(table, 2, tmp_path / "c", max_image_tokens=16)
    mapped = _shards(table, 2, tmp_path / "d", options=ImportOptions({"topic": "split"}))
    out = tmp_path / "out"
    cases: list[tuple[list[Path], str]] = [
        ([one], "missing: shard 2/2"),
        ([one, one], "given twice"),
        ([one, Path(shutil.copytree(one, tmp_path / "again"))], "shard 1/2 is given twice"),
        ([one, other], "not of one source"),
        ([one, small[1]], "with other options"),
        ([one, mapped[1]], "not of one source"),
        (mapped, "of another source, or were read with other options"),
        ([one, tmp_path], "not a shard"),
    ]
    for folders, problem in cases:
        with pytest.raises(DataError, match=problem):
            prepare(str(table), out, merge=folders, max_rejected=0.5)
        assert not out.exists()
    with table.open("a") as file:
        file.write(json.dumps({"question": "One more?", "answer": "yes", "images": ["scans/patient1.png"]}) + "\n")
    with pytest.raises(DataError, match="of another source"):
        prepare(str(table), out, merge=[one, two], max_rejected=0.5)
    assert not out.exists()
    (two / "keys.jsonl").write_text('{"key": 1}\n')
    with pytest.raises(DataError, match="a line of the shard is damaged"):
        prepare(str(table), out, merge=[one, two], max_rejected=0.5)
    for change, problem in (
        (_replaced("format", 99), "newer version"),
        (_replaced("of", "x"), "record of the shard is damaged"),
    ):
        broken = Path(shutil.copytree(two, tmp_path / f"broken{problem[:3]}"))
        change(broken)
        with pytest.raises(DataError, match=problem):
            prepare(str(table), out, merge=[one, broken], max_rejected=0.5)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_wrong_shard_is_refused_before_anything_is_read(text: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a shard"):
        prepare_shard("missing.csv", tmp_path / "out", text)


def test_a_shard_replaces_a_shard_only_and_is_no_data_set(table: Path, tmp_path: Path) -> None:
    data = prepare(str(table), tmp_path / "data", max_rejected=0.5).folder
    with pytest.raises(LowmedError):
        prepare_shard(str(table), data, "1/2")
    [shard, _] = _shards(table, 2, tmp_path)
    before = _content(shard)
    prepare_shard(str(table), shard, "1/2")
    assert _content(shard) == before
    with pytest.raises(LowmedError):
        prepare(str(table), shard, max_rejected=0.5)


def test_the_commands_print_the_next_step(table: Path, tmp_path: Path, lowmed: Any) -> None:
    for number in (1, 2):
        result = lowmed("data", "prepare", str(table), "--shard", f"{number}/2", "--out", f"s{number}")
        assert result.stdout.startswith(f"s{number}: shard {number}/2, "), result.stderr
    merge = ("--merge", "s1", "--merge", "s2")
    result = lowmed("data", "prepare", str(table), *merge, "--out", "data", "--max-rejected", "0.5")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "data" / "card.json").is_file()
    for wrong in (("--shard", "1/2", *merge), ("--shard", "1/2", "--text-only"), (*merge, "--text-only")):
        assert lowmed("data", "prepare", str(table), *wrong, "--out", "x").returncode == 2
    assert not (tmp_path / "x").exists()
