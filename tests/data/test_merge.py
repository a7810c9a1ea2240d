"""Several data sets as one: unique ids, one reference for equal images, and no leak between them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.made import FIXTURES, build, jsonl, make_image
from PIL import Image

from lowmed.data import for_recipe
from lowmed.data.load import load_data
from lowmed.data.of_sources import of_sources
from lowmed.data.split import HELD_OUT, split_data, validate_split
from lowmed.errors import DataError, RecipeError
from lowmed.recipe import DataSpec
from lowmed.recipe.io import load_recipe

TOKENS = 256


def folder(path: Path, rows: list[dict[str, Any]], images: dict[str, int]) -> str:
    """A folder of the user's own, with images by the seed that draws them."""
    path.mkdir(parents=True, exist_ok=True)
    for name, seed in images.items():
        make_image(seed).save(path / name)
    jsonl(path / "samples.jsonl", *rows)
    return str(path)


def row(number: int, image: str, question: str = "", **changes: Any) -> dict[str, Any]:
    question = question or f"Is there a mass, {number}?"
    return {"id": str(number), "images": [image], "question": question, "answer": "yes", "kind": "closed", **changes}


def spec(*paths: str, **changes: Any) -> DataSpec:
    names = "abc"
    sources = [{"source": "folder", "path": path, "name": names[number]} for number, path in enumerate(paths)]
    return DataSpec.model_validate({"sources": sources, **changes})


def two_folders(tmp_path: Path, **of_second: Any) -> tuple[str, str]:
    """Two folders with equal ids and file names; image 0 of the first is image 5 of the second, in another format."""
    first = folder(
        tmp_path / "a",
        [row(n, f"{n}.png", split="train") for n in range(8)],
        {f"{n}.png": n for n in range(8)},
    )
    second = folder(
        tmp_path / "b",
        [row(n, f"{n}.bmp", split="test" if n > 3 else "train", **of_second) for n in range(6)],
        {f"{n}.bmp": 100 + n for n in range(5)} | {"5.bmp": 0},
    )
    return first, second


def test_ids_that_several_sources_use_are_prefixed_and_others_are_kept(tmp_path: Path) -> None:
    a, b = two_folders(tmp_path)
    merged = load_data(spec(a, b), max_image_tokens=TOKENS)
    ids = [sample.id for sample in merged.samples]
    assert len(set(ids)) == len(ids) == 14
    assert {"a/0", "b/0", "6", "7"} <= set(ids)
    assert {sample.source for sample in merged.samples} == {"a", "b"}
    assert set(merged.splits) == {"train", "test (b)"}


def test_an_id_that_looks_like_a_prefixed_one_stays_unique(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [row(1, "1.png"), row(2, "1.png", id="b/1")], {"1.png": 1})
    b = folder(tmp_path / "b", [row(1, "2.png")], {"2.png": 2})
    ids = [sample.id for sample in load_data(spec(a, b), max_image_tokens=TOKENS).samples]
    assert sorted(ids) == ["a/1", "b/1", "b/b/1"]


def test_equal_pixels_have_one_reference_whatever_the_files_are_called(tmp_path: Path) -> None:
    merged = load_data(spec(*two_folders(tmp_path)), max_image_tokens=TOKENS)
    by_id = {sample.id: sample for sample in merged.samples}
    assert by_id["a/0"].images == by_id["b/5"].images
    assert by_id["a/1"].images != by_id["b/1"].images, "equal names, other pixels"
    for sample in merged.samples:
        assert merged.open_image(sample.images[0]).size == (96, 80)
    assert np.array_equal(np.asarray(merged.open_image(by_id["b/1"].images[0])), np.asarray(make_image(101)))


@pytest.mark.parametrize("prepared", ["a", "b"])
def test_a_prepared_folder_and_files_of_the_same_image_have_one_reference(tmp_path: Path, prepared: str) -> None:
    a, b = two_folders(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / prepared / "samples.jsonl").read_text().splitlines()]
    for line in rows:
        line["image"] = line.pop("images")[0]
    table = jsonl(tmp_path / prepared / "table.jsonl", *rows)
    build(table, tmp_path / "prepared")  # with a budget of 64 tokens, other than the recipe's
    paths = {"a": a, "b": b} | {prepared: str(tmp_path / "prepared")}
    merged = load_data(spec(*paths.values()), max_image_tokens=TOKENS)
    references: dict[str, set[str]] = {sample.source: set() for sample in merged.samples}
    for sample in merged.samples:
        references[sample.source] |= set(sample.images)
    assert len(references["a"] & references["b"]) == 1


def test_a_training_image_of_one_source_in_the_test_part_of_another_is_refused(tmp_path: Path) -> None:
    data = spec(*two_folders(tmp_path), split_by="official")
    merged = load_data(data, max_image_tokens=TOKENS)
    with pytest.raises(DataError, match=r"1 of the 2 test \(b\) images of a\+b also occur in its train split"):
        split_data(merged, data, 0)
    allowed = data.model_copy(update={"allow_shared_images": True})
    assert "1 of them are trained on" in split_data(merged, allowed, 0).stamp("test (b)")


def test_an_image_in_two_sources_lies_in_one_part(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [row(n, f"{n}.png") for n in range(20)], {f"{n}.png": n for n in range(20)})
    b = folder(tmp_path / "b", [row(n, f"x{n}.bmp") for n in range(20)], {f"x{n}.bmp": 19 - n for n in range(20)})
    data = spec(a, b, dev=0.2, held_out=0.3)
    merged = load_data(data, max_image_tokens=TOKENS)
    for seed in range(5):
        split = split_data(merged, data, seed)
        validate_split(split, data)
        parts = [{image for row in part for image in row.images} for part in (split.train, split.dev)]
        parts.append({image for row in split.held_out[HELD_OUT] for image in row.images})
        assert sum(map(len, parts)) == len(set().union(*parts)) == 20


def test_each_source_has_its_share_of_the_held_out_part(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [row(n, f"{n}.png") for n in range(60)], {f"{n}.png": n for n in range(60)})
    b = folder(tmp_path / "b", [row(n, f"{n}.png") for n in range(20)], {f"{n}.png": 100 + n for n in range(20)})
    data = spec(a, b, held_out=0.25, dev=0.25)
    split = split_data(load_data(data, max_image_tokens=TOKENS), data, 0)
    for part in (split.held_out[HELD_OUT], split.dev):
        assert [sum(sample.source == name for sample in part) for name in "ab"] == [15, 5]


def test_the_order_of_rows_represents_all_sources(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [row(n, f"{n}.png") for n in range(30)], {f"{n}.png": n for n in range(30)})
    b = folder(tmp_path / "b", [row(n, f"{n}.png") for n in range(10)], {f"{n}.png": 100 + n for n in range(10)})
    first = load_data(spec(a, b), max_image_tokens=TOKENS).splits["train"][:8]
    assert [sum(sample.source == name for sample in first) for name in "ab"] == [6, 2]


def test_groups_of_two_sources_are_one_patient_only_if_they_are_named_so(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [row(1, "1.png"), row(2, "1.png", group="patient 1")], {"1.png": 1})
    b = folder(tmp_path / "b", [row(1, "1.png"), row(2, "1.png", group="patient 1")], {"1.png": 2})
    text = [{"id": "7", "question": "Is it?", "answer": "yes", "kind": "closed"}]
    c, d = folder(tmp_path / "c", text, {}), folder(tmp_path / "d", text, {})
    groups = {sample.id: sample.group for sample in load_data(spec(a, b), max_image_tokens=TOKENS).samples}
    assert groups["a/2"] == groups["b/2"] == "patient 1"
    assert groups["a/1"] != groups["b/1"], "image groups with equal file names"
    assert len({sample.group for sample in load_data(spec(c, d), max_image_tokens=TOKENS).samples}) == 2


def test_repeated_and_contradicting_questions_are_reported(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [row(n, f"{n}.png", "Is it big?") for n in range(3)], {f"{n}.png": n for n in range(3)})
    rows = [
        row(0, "x.png", "is it  BIG"),
        row(1, "y.png", "Is it big?", answer="no"),
        row(2, "y.png", "Is it small?"),
    ]
    b = folder(tmp_path / "b", rows, {"x.png": 0, "y.png": 1})
    text = load_data(spec(a, b), max_image_tokens=TOKENS).describe()
    assert "in several sources: 2 images (a, b)" in text
    assert "in several sources: 2 questions about the same images" in text
    assert "CONFLICT: 1 of these questions have other gold answers in another source (first: a a/1 and b b/1)" in text
    alone = load_data(spec(a), max_image_tokens=TOKENS).describe()
    assert "several" not in alone


def test_auto_splits_by_image_if_a_source_has_no_published_part(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [row(n, f"{n}.png") for n in range(8)], {f"{n}.png": n for n in range(8)})
    parts = ["train"] * 6 + ["test"] * 2
    b_rows = [row(n, f"{n}.png", split=part) for n, part in enumerate(parts)]
    b = folder(tmp_path / "b", b_rows, {f"{n}.png": 50 + n for n in range(8)})
    split = split_data(load_data(spec(a, b), max_image_tokens=TOKENS), spec(a, b, split_by="auto"), 0)
    assert set(split.held_out) == {HELD_OUT, "test (b)"}
    only_b = split_data(load_data(spec(b), max_image_tokens=TOKENS), spec(b, split_by="auto"), 0)
    assert set(only_b.held_out) == {"test (a)"}


def test_published_dev_takes_the_part_of_each_source_that_has_one(tmp_path: Path) -> None:
    paths = []
    for number, name in enumerate(("validation", "val", "test")):
        rows = [row(n, f"{n}.png", split=name if n > 5 else "train") for n in range(8)]
        images = {f"{n}.png": 100 * number + n for n in range(8)}
        paths.append(folder(tmp_path / name, rows, images))
    data = spec(*paths, dev="published", split_by="official")
    split = split_data(load_data(data, max_image_tokens=TOKENS), data, 0)
    assert {sample.source for sample in split.dev} == {"a", "b"}
    assert set(split.held_out) == {"test (c)"}


def test_limits_and_extraction_apply_to_each_source(tmp_path: Path) -> None:
    a, b = two_folders(tmp_path)
    entries = [{"source": "folder", "path": a, "name": "a", "train_limit": 3}, {"source": "folder", "path": b}]
    data = DataSpec.model_validate({"sources": entries, "held_out": 0.1, "task": "extraction"})
    split = split_data(load_data(data, max_image_tokens=TOKENS), data, 0)
    assert sum(sample.source == "a" for sample in split.train) == 3
    ids = [sample.id for part in (split.train, *split.held_out.values()) for sample in part]
    assert len(ids) == len(set(ids))
    assert {sample.kind for sample in split.train} == {"json"}


def test_rejected_rows_count_in_their_own_source(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [row(n, f"{n}.png") for n in range(30)], {f"{n}.png": n for n in range(30)})
    b = folder(tmp_path / "b", [row(1, "1.png"), row(2, "1.png", answer="")], {"1.png": 90})
    with pytest.raises(DataError, match="1 of 2 rows of folder cannot be used"):
        load_data(spec(a, b, max_rejected=0.1), max_image_tokens=TOKENS)
    assert load_data(spec(a, b, max_rejected=0.5), max_image_tokens=TOKENS).rejected[0].where == "b: samples.jsonl:2"


def test_a_source_without_training_rows_is_refused(tmp_path: Path) -> None:
    a, b = two_folders(tmp_path, modality="CT")
    data = f"[{{source: folder, path: {a}, name: a}}, {{source: folder, path: {b}, name: b}}]"
    recipe = load_recipe("rl-plain", [f"data.sources={data}", "data.modality=CT", "data.held_out=0.1"])
    with pytest.raises(DataError, match="`a`: no row is left to train on"):
        for_recipe(recipe)


def test_the_paths_of_moved_sources_are_named(tmp_path: Path) -> None:
    a, b = two_folders(tmp_path)
    elsewhere = DataSpec.model_validate(
        {"sources": [{"source": "folder", "path": "/gone", "name": "a"}, {"source": "folder", "path": b, "name": "b"}]}
    )
    with pytest.raises(DataError, match="does not exist") as caught:
        load_data(elsewhere, max_image_tokens=TOKENS)
    assert "data.sources[0].path" in caught.value.fix
    moved = load_data(elsewhere, f"a={a}", max_image_tokens=TOKENS)
    assert moved.digest == load_data(spec(a, b), max_image_tokens=TOKENS).digest
    for wrong in (a, f"c={a}", "a="):
        with pytest.raises(RecipeError, match="does not say which of the sources a, b is there"):
            load_data(elsewhere, wrong, max_image_tokens=TOKENS)


def test_the_digest_covers_every_source_and_which_one_a_row_belongs_to(tmp_path: Path) -> None:
    a, b = two_folders(tmp_path)
    digests = {load_data(spec(*paths), max_image_tokens=TOKENS).digest for paths in ((a, b), (b, a), (a,))}
    assert len(digests) == 3
    rows = [json.loads(line) for line in (tmp_path / "b/samples.jsonl").read_text().splitlines()]
    jsonl(tmp_path / "b/samples.jsonl", *rows[:-1], {**rows[-1], "answer": "no"})
    assert load_data(spec(a, b), max_image_tokens=TOKENS).digest not in digests


def test_two_machines_split_a_mixture_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = folder(tmp_path / "a", [row(n, f"{n}.png") for n in range(20)], {f"{n}.png": n for n in range(20)})
    entries = f"{{source: vqa-rad, path: {FIXTURES / 'vqa-rad'}}}, {{source: folder, path: {a}, name: own}}"
    recipe = load_recipe("rl-plain", [f"data.sources=[{entries}, {{source: phantom, train_limit: 50}}]"])
    results = []
    for home in ("one", "two"):
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            monkeypatch.setenv(name, str(tmp_path / home / name))
        split = for_recipe(recipe).split
        content = {row.id: (row.text, row.images, row.part) for row in split.rows}
        results.append((split.digest, sorted(content.values()), [content[sample.id] for sample in split.train]))
    assert results[0] == results[1]


def test_a_part_of_the_sources_keeps_its_warnings(tmp_path: Path) -> None:
    data = spec(*two_folders(tmp_path), split_by="official", allow_shared_images=True)
    split = split_data(load_data(data, max_image_tokens=TOKENS), data, 0)
    only = of_sources(split, ["b"])
    assert (only.source, set(only.held_out), len(only.train)) == ("b", {"test"}, len(split.train))
    assert only.stamp("test") == split.stamp("test (b)")
    assert set(of_sources(split, ["a", "b"]).held_out) == {"test (b)"}
    assert not of_sources(split, ["a"]).held_out


def test_an_image_that_only_differs_in_one_pixel_is_another_image(tmp_path: Path) -> None:
    a, b = two_folders(tmp_path)
    pixels = np.array(make_image(0))
    pixels[3, 3] ^= 1
    Image.fromarray(pixels).save(tmp_path / "b/5.bmp")
    merged = load_data(spec(a, b), max_image_tokens=TOKENS)
    assert len({image for sample in merged.samples for image in sample.images}) == 14
