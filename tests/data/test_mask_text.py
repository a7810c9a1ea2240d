"""`--mask-text`: text in images is covered before they are stored, and nothing else; the audit shows it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from data.made import SALT, SETTINGS, SHARED, build, jsonl, lines, row, samples
from PIL import Image, ImageDraw, ImageFont
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.data.audit import masked_text
from lowmed.data.audit.burned_in_text import text_rows
from lowmed.data.image.mask_text import Box, cover, find_text, mask_text
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest import prepared_folder
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.errors import SetupError

pytest.importorskip("rapidocr")
pytestmark = pytest.mark.xdist_group("detector")  # one process loads it
REAL = SHARED / "data" / "vqa-rad" / "images"
MASKING = ImageStoreSettings(PixelPolicy(256), salt=SALT, mask_text=True)
SIZE = (480, 400)


def film(*texts: tuple[tuple[int, int], str], level: int = 0, ink: int = 255) -> Image.Image:
    """A smooth bright disk on a dark ground, with texts burned in."""
    across, down = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    disk = np.clip(200 - np.hypot(across - 240, down - 200) * 1.1, level, 255)
    image = Image.fromarray(disk.astype(np.uint8))
    drawing = ImageDraw.Draw(image)
    for place, text in texts:
        drawing.text(place, text, fill=ink, font=ImageFont.load_default(18))
    return image


NAME = ((12, 10), "MUELLER^ANNA 04711")
DATE = ((330, 370), "02.02.2020")


def inside(boxes: Sequence[Box], place: tuple[int, int]) -> bool:
    return any(box[0] <= place[0] < box[2] and box[1] <= place[1] < box[3] for box in boxes)


def test_text_is_covered_and_nothing_else_is_changed() -> None:
    plain, marked = film(), film(NAME, DATE)
    covered, boxes = mask_text(marked)
    assert inside(boxes, (20, 20))
    assert inside(boxes, (340, 380))
    untouched = np.ones(SIZE[::-1], bool)
    for left, top, right, bottom in boxes:
        untouched[top:bottom, left:right] = False
    assert np.array_equal(np.asarray(covered)[untouched], np.asarray(marked)[untouched])
    assert np.array_equal(np.asarray(covered)[untouched], np.asarray(plain)[untouched])  # no stroke remains outside
    assert untouched.mean() > 0.85
    assert len(text_rows(marked)) >= 2
    assert text_rows(covered) == find_text(covered) == []


def test_an_image_without_text_stays_the_same() -> None:
    image = film()
    assert mask_text(image) == (image, ())
    assert mask_text(image)[0] is image


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("level", "ink"), [(0, 255), (180, 0), (0, 120)])
def test_dark_and_faint_text_in_grey_and_colour_is_covered(mode: str, level: int, ink: int) -> None:
    covered, boxes = mask_text(film(NAME, level=level, ink=ink).convert(mode))
    assert inside(boxes, (20, 20))
    assert covered.mode == mode
    assert text_rows(covered) == []


def test_text_at_the_edge_is_covered() -> None:
    covered, boxes = mask_text(film(((380, 388), "MUELLER ANNA"), ((-30, 200), "PATIENT 4711")))
    assert inside(boxes, (400, 396))
    assert inside(boxes, (10, 210))
    assert covered.size == SIZE


def test_a_box_gets_the_median_of_its_surroundings() -> None:
    values = np.zeros((40, 60), np.uint8)
    values[:, 30:] = 200
    values[10:20, 36:50] = 255
    covered = np.asarray(cover(Image.fromarray(values), [(36, 10, 50, 20), (0, 0, 10, 8)]))
    assert (covered[10:20, 36:50] == 200).all()
    assert not covered[:8, :10].any()
    assert not np.asarray(cover(Image.new("RGB", (20, 10), "white"), [(0, 0, 20, 10)])).any()


def test_prepare_stores_masked_images_and_their_boxes(tmp_path: Path) -> None:
    for number in range(4):
        film(*([NAME, DATE][:number]), ((200, 150 + number), "x"), level=number).save(tmp_path / f"{number}.png")
    file = jsonl(tmp_path / "t.jsonl", *(row(number, f"{number}.png") for number in range(4)))
    build(file, tmp_path / "plain", ImageStoreSettings(PixelPolicy(256), salt=SALT))
    build(file, tmp_path / "out", MASKING)
    assert [bool(text_rows(open_stored(tmp_path / "plain", number))) for number in range(4)] == [
        False,
        True,
        True,
        True,
    ]
    assert [text_rows(open_stored(tmp_path / "out", number)) for number in range(4)] == [[]] * 4
    records = {each["images"][0]: each for each in lines(tmp_path / "out/images.jsonl")}
    for number, sample in enumerate(samples(tmp_path / "out")):
        (boxes,) = records[sample["images"][0]]["masked"]
        assert inside(boxes, (20, 20)) == (number > 0)
        assert inside(boxes, (340, 380)) == (number > 1)
    assert json.loads((tmp_path / "out/card.json").read_text())["mask_text"] is True
    assert "masked" not in lines(tmp_path / "plain/images.jsonl")[0]
    read_back = [stored for _, stored in prepared_folder.stored_files(tmp_path / "out")]
    assert [json.loads(json.dumps(stored.record)) for stored in read_back] == [
        {name: value for name, value in each.items() if name != "settings"} for each in records.values()
    ]


def open_stored(out: Path, number: int) -> Image.Image:
    return Image.open(out / samples(out)[number]["images"][0])


def test_the_option_is_part_of_the_settings_and_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    assert MASKING.digest != ImageStoreSettings(PixelPolicy(256), salt=SALT).digest
    film(NAME).save(tmp_path / "a.png")
    file = jsonl(tmp_path / "t.jsonl", row(1, "a.png"))
    written = []
    for settings in (MASKING, MASKING, ImageStoreSettings(PixelPolicy(256), salt=SALT), MASKING):
        build(file, tmp_path / "out", settings)
        written.append({path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()})
    assert written[0] == written[1] == written[3] != written[2]


def test_names_in_dicom_pixels_are_covered(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from data.test_dicom import film as dicom_film

    pixels = np.asarray(film(NAME, DATE)).astype(np.int16) * 10
    (tmp_path / "a.dcm").write_bytes(dicom_film(pixels))
    build(jsonl(tmp_path / "t.jsonl", row(1, "a.dcm")), tmp_path / "out", MASKING)
    assert text_rows(open_stored(tmp_path / "out", 0)) == []


def test_without_the_extra_the_command_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(NAME).save(tmp_path / "a.png")
    file = jsonl(tmp_path / "t.jsonl", row(1, "a.png"))
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    result = CliRunner().invoke(app, ["data", "prepare", str(file), "--out", str(tmp_path / "out"), "--mask-text"])
    assert isinstance(result.exception, SetupError)
    assert (result.exception.where, result.exception.fix) == ("--mask-text", "pip install 'lowmed[mask]'")
    assert not (tmp_path / "out").exists()


def test_the_audit_shows_covered_and_remaining_text(tmp_path: Path) -> None:
    for number in range(3):
        film(*([NAME, DATE][:number]), level=number).save(tmp_path / f"{number}.png")
    file = jsonl(tmp_path / "t.jsonl", *(row(number, f"{number}.png") for number in range(3)))
    command = ["data", "prepare", str(file), "--out", str(tmp_path / "out"), "--mask-text"]
    assert "text in 2 image files" in CliRunner().invoke(app, command).output
    assert "text in 2 of 3 images" in CliRunner().invoke(app, ["data", "audit", str(tmp_path / "out")]).output
    masked = json.loads((tmp_path / "out/audit.json").read_text())["masked"]
    assert (masked["images"], masked["of"], masked["searched_again"], masked["remaining"]) == (2, 3, 3, 0)
    assert {image["image"] for image in masked["shown"]} == {
        stored["images"][0] for stored in lines(tmp_path / "out/images.jsonl") if stored["masked"][0]
    }
    assert "Covered text" in (tmp_path / "out/audit.html").read_text()
    stored = [each for _, each in prepared_folder.stored_files(tmp_path / "out")]
    with open_stored(tmp_path / "out", 0) as image:
        marked = image.copy()
    ImageDraw.Draw(marked).text((100, 200), "MUELLER", fill=255, font=ImageFont.load_default(24))
    marked.save(tmp_path / "out" / samples(tmp_path / "out")[0]["images"][0])
    again = masked_text.masked_text(tmp_path / "out", stored)
    assert again.remaining == 1
    assert again.shown[0].image == samples(tmp_path / "out")[0]["images"][0]  # first, because a person must look at it
    assert "1 of 3 images" in masked_text.note(again)


def test_an_audit_without_the_detector_states_that_nothing_was_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lowmed.data.image import mask_text as module

    film(NAME).save(tmp_path / "a.png")
    build(jsonl(tmp_path / "t.jsonl", row(1, "a.png")), tmp_path / "out", MASKING)
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    module._detector.cache_clear()
    result = CliRunner().invoke(app, ["data", "audit", str(tmp_path / "out")])
    assert result.exception is None, result.output
    masked = json.loads((tmp_path / "out/audit.json").read_text())["masked"]
    assert (masked["images"], masked["searched_again"]) == (1, 0)
    assert "not installed here" in (tmp_path / "out/audit.html").read_text()


def test_data_prepared_without_masking_have_no_such_record(tmp_path: Path) -> None:
    film(NAME).save(tmp_path / "a.png")
    build(jsonl(tmp_path / "t.jsonl", row(1, "a.png")), tmp_path / "out", SETTINGS)
    CliRunner().invoke(app, ["data", "audit", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out/audit.json").read_text())["masked"] is None
    assert "Covered text" not in (tmp_path / "out/audit.html").read_text()


@pytest.mark.slow
def test_most_text_of_real_images_is_covered() -> None:
    if not REAL.is_dir():
        pytest.skip("the real images are not at ../shared/data/vqa-rad/images")
    before = after = remaining = 0
    for path in sorted(REAL.glob("*.jpg"))[::80]:
        image = Image.open(path).convert("RGB")
        covered, boxes = mask_text(image)
        assert boxes, path.name
        before += bool(text_rows(image))
        after += bool(text_rows(covered))
        remaining += bool(find_text(covered))
    assert before >= 3
    assert after <= 1
    assert remaining <= 1
