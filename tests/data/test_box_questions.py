"""Questions about boxes: SLAKE's files, own tables and folders, and the coordinates of each model family."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data.made import Row, build, jsonl, lines, make_image, slake_with_images
from PIL import Image

from lowmed.boxes import Box, parse_boxes
from lowmed.cli.data_audit import prompt_families
from lowmed.data import folder
from lowmed.data.box_grid import with_box_grid
from lowmed.data.dataset import DataSet
from lowmed.data.image.draw_boxes import GOLD, PREDICTED, draw_boxes
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.load import load
from lowmed.data.sources import KNOWN
from lowmed.data.validate import reads_back
from lowmed.errors import DataError
from lowmed.recipe import ModelSpec
from lowmed.report import data_page, data_sheet

SIZE = (333, 517)
BOX = '[{"bbox_2d": [33, 51, 99, 155], "label": "mass"}]'


def table(place: Path, *answers: Any, **columns: Any) -> Path:
    make_image(1, SIZE).save(place / "a.png")
    rows: list[Row] = [
        {"id": str(number), "image": "a.png", "question": f"Where is mass {number}?", "answer": answer, "kind": "boxes"}
        for number, answer in enumerate(answers)
    ]
    return jsonl(place / "table.jsonl", *(row | columns for row in rows))


def stored(place: Path, *answers: Any, options: ImportOptions | None = None, **build_options: Any) -> list[Row]:
    build(table(place, *answers), place / "out", import_options=options, **build_options)
    return lines(place / "out/samples.jsonl")


def test_boxes_of_a_table_stay_in_pixels_of_the_original_image(tmp_path: Path) -> None:
    [first, second, third, none] = stored(
        tmp_path, BOX, {"bbox_2d": [33, 51, 99, 155], "label": "mass"}, [33.5, 51, 99, 155], "none"
    )
    assert first["answer"] == second["answer"] == BOX
    assert third["answer"] == '[{"bbox_2d": [33.5, 51, 99, 155]}]'
    assert none["answer"] == "[]"
    assert first["image_size"] == list(SIZE)
    assert "box_grid" not in first
    data = folder.load(str(tmp_path / "out"))
    [sample, *_] = data.samples
    assert data.open_image(sample.images[0]).size != SIZE
    assert sample.written_answer == '[{"bbox_2d": [99, 99, 297, 300], "label": "mass"}]'
    assert all(map(reads_back, data.samples))


@pytest.mark.parametrize(
    ("unit", "answer"),
    [("relative", "[0.1, 0.2, 0.5, 0.4]"), ("thousandths", "[100, 200, 500, 400]"), (None, "[0.1, 0.2, 0.5, 0.4]")],
)
def test_shares_of_the_image_become_pixels(tmp_path: Path, unit: Any, answer: str) -> None:
    [row] = stored(tmp_path, answer, options=ImportOptions(boxes=unit))
    assert row["answer"] == '[{"bbox_2d": [33.3, 103.4, 166.5, 206.8]}]'


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("[0, 0, 334, 10]", "outside of the image of 333 x 517 pixels"),
        ("[10, 10, 5, 20]", "corners are exchanged"),
        ("[10, 10, 10, 20]", "no area"),
        ("upper left", "not a list of boxes"),
        ("[1, 2, 3]", "not a list of boxes"),
    ],
)
def test_boxes_that_cannot_be_right_are_rejected_by_row(tmp_path: Path, answer: str, reason: str) -> None:
    counts = build(table(tmp_path, BOX, answer), tmp_path / "out", max_rejected=0.5)
    [(location, why)] = counts.rejections
    assert location.line == 2
    assert reason in why


def test_boxes_need_an_image_and_its_size(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need an image"):
        build(table(tmp_path, BOX), tmp_path / "out", images=False)
    row = {"id": "1", "question": "Where?", "answer": BOX, "kind": "boxes"}
    jsonl(tmp_path / "samples.jsonl", row)
    with pytest.raises(DataError, match="boxes need an image"):
        folder.load(str(tmp_path))


def test_a_folder_of_samples_takes_the_size_from_its_images(tmp_path: Path) -> None:
    make_image(1, SIZE).save(tmp_path / "a.png")
    row = {"id": "1", "images": ["a.png"], "question": "Where?", "answer": BOX, "kind": "boxes"}
    jsonl(tmp_path / "samples.jsonl", row, {**row, "id": "2", "question": "And?", "image_size": [3330, 5170]})
    first, second = folder.load(str(tmp_path)).samples
    assert (first.image_size, second.image_size) == (SIZE, (3330, 5170))
    jsonl(tmp_path / "samples.jsonl", {**row, "answer": "[0, 0, 400, 10]"}, {**row, "id": "2"})
    [rejected] = folder.load(str(tmp_path)).rejected
    assert (rejected.where, "outside" in rejected.reason) == ("samples.jsonl:1", True)


def test_qwen2_5_writes_pixels_of_the_image_that_it_reads_and_others_thousandths(tmp_path: Path) -> None:
    stored(tmp_path, BOX)
    data = folder.load(str(tmp_path / "out"))
    for name in ("Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen3-VL-2B-Instruct", "google/medgemma-4b-it", "nano"):
        assert with_box_grid(data, ModelSpec(name=name)).samples[0].box_grid == (1000, 1000)
    model = ModelSpec(name="Qwen/Qwen2.5-VL-3B-Instruct", max_image_tokens=64)
    [sample] = with_box_grid(data, model).samples
    assert sample.box_grid == data.open_image(sample.images[0]).size
    assert reads_back(sample)
    [smaller] = with_box_grid(data, ModelSpec(name=model.name, max_image_tokens=16)).samples
    assert smaller.box_grid[0] < sample.box_grid[0]
    with pytest.raises(DataError, match="different budgets"):
        with_box_grid(replace(data, max_image_tokens="64 and 256"), model)


def test_the_identity_of_a_row_covers_its_boxes_and_the_size_of_the_image(tmp_path: Path) -> None:
    stored(tmp_path, BOX)
    data = folder.load(str(tmp_path / "out"))
    [sample] = data.samples
    other = DataSet(
        "x", {"train": (replace(sample, image_size=(3330, 5170)),)}, (), data.open_image, pixels=data.pixels
    )
    same = DataSet("x", {"train": (replace(sample, box_grid=(84, 84)),)}, (), data.open_image, pixels=data.pixels)
    plain = DataSet("x", {"train": (sample,)}, (), data.open_image, pixels=data.pixels)
    assert plain.digest == same.digest != other.digest


@pytest.fixture
def slake(tmp_path: Path) -> Path:
    place = slake_with_images(tmp_path / "slake")
    for number, image in enumerate(sorted((place / "imgs").glob("*/source.jpg"))):
        content: Any = [{"Liver": [10, 20, 30, 40]}, {"Lung Cancer": [50, 5, 20, 10]}, {"Liver": [60, 20, 10, 10]}]
        if number == 1:
            content = [{"Heart": [90, 0, 30, 10]}, {"Lung": [0, 0, 0, 5]}, {"Spleen": "none"}]
        image.with_name("detection.json").write_text(json.dumps(content))
        if number == 2:
            image.with_name("detection.json").unlink()
    return place


def test_slake_has_one_question_for_each_label_of_an_image(slake: Path, tmp_path: Path) -> None:
    rows = KNOWN["slake-boxes"].rows(str(slake), ImportOptions())
    counts = build(rows, tmp_path / "out", max_rejected=0.9)
    data = folder.load(str(tmp_path / "out"))
    [liver, cancer, *_] = [sample for sample in data.samples if sample.topic in ("Liver", "Lung Cancer")]
    assert (liver.question, liver.kind) == ("Where in the image is this: Liver?", "boxes")
    boxes = parse_boxes(liver.answer)[0] or ()
    assert [box.corners for box in boxes] == [(10, 20, 40, 60), (60, 20, 70, 30)]
    assert parse_boxes(cancer.answer)[0] is not None
    assert {"Heart", "Lung", "Spleen"}.isdisjoint(sample.topic for sample in data.samples)
    reasons = "\n".join(counts.reasons)
    for part in (
        "outside of the image",
        "the box of Lung has no area",
        "the box of Spleen is not [x, y",
        "no detection.json",
    ):
        assert part in reasons, part
    published = KNOWN["slake"].rows(str(slake), ImportOptions())
    build(published, tmp_path / "questions")
    part_of = {
        image: name for name, part in folder.load(str(tmp_path / "questions")).splits.items() for sample in part
        for image in sample.images
    }  # fmt: skip
    assert all(part_of[sample.images[0]] == name for name, part in data.splits.items() for sample in part)


def test_phantom_has_the_boxes_of_its_lesions() -> None:
    sizes = {"train": 12, "test": 3}
    data = load("phantom-boxes", None, sizes=sizes)
    assert {name: len(part) for name, part in data.splits.items()} == sizes
    plain = load("phantom", None, sizes=sizes)
    for boxes, question in zip(data.samples, plain.samples, strict=True):
        assert boxes.images == question.images
        lesions = parse_boxes(boxes.answer)[0] or ()
        if question.topic == "count":
            assert len(lesions) == ["zero", "one", "two", "three", "four"].index(question.answer)
        image = data.open_image(boxes.images[0]).convert("L")
        for box in lesions:
            inside = image.crop(tuple(map(int, box.corners)))  # type: ignore[arg-type]
            assert sum(inside.histogram()[140:]) > 0.6 * inside.width * inside.height


def test_boxes_are_drawn_where_samples_are_shown(tmp_path: Path) -> None:
    stored(tmp_path, BOX, "none")
    data = folder.load(str(tmp_path / "out"))
    rows = data_sheet.rows(data, PixelPolicy(64), [], questions=2, seed=0)
    page = data_page.show_page("boxes", rows, tmp_path / "out")
    without = [{**row, "kind": "open"} for row in rows]
    first, second = (page.split("data:image/jpeg")[at] for at in (1, 2))
    plain = data_page.show_page("boxes", without, tmp_path / "out").split("data:image/jpeg")
    assert first != plain[1]
    assert second.split('"')[0] == plain[2].split('"')[0]


def test_the_prompts_of_a_kind_are_shown_by_default() -> None:
    names = [family.name for family in prompt_families(None, None, ["boxes", "closed", "open"])]
    assert names == ["boxes", "reasoning", "diverse", "direct"]
    assert [family.name for family in prompt_families("direct", None, ["boxes"])] == ["direct"]
    assert {family.name for family in prompt_families(None, "rarl", ["boxes"])} == {"diverse", "reasoning"}


def test_labels_are_written_next_to_boxes_only_where_they_differ() -> None:
    image = Image.new("RGB", (200, 200))
    left, right = Box((10, 10, 60, 60), "liver"), Box((100, 150, 150, 195), "heart")
    one = draw_boxes(image, image.size, [left], [left])
    assert sum(one.crop((10, 61, 60, 75)).convert("L").histogram()[1:]) == 0
    both = draw_boxes(image, (400, 400), [left.scaled(2, 2)], [right.scaled(2, 2)])
    assert both.getpixel((10, 30)) == GOLD
    assert both.getpixel((100, 170)) == PREDICTED
    for area in ((10, 61, 60, 75), (100, 136, 150, 149)):  # below, and above at the lower edge
        assert sum(both.crop(area).convert("L").histogram()[1:]) > 0
    assert sum(image.convert("L").histogram()[1:]) == 0  # the image itself stays
