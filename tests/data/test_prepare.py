"""The prepared folder: written completely or not at all, reproducible, and accepted by every recipe."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from data.made import (
    SALT,
    SETTINGS,
    Row,
    build,
    everything,
    jsonl,
    lines,
    make_image,
    rejected,
    row,
    samples,
    save_images,
)
from PIL import Image

from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.data.load import load
from lowmed.errors import DataError, LowmedError, RunError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    save_images(tmp_path, "a.png", "b.png", "c.png")
    rows = [
        row(n, "abc"[n % 3] + ".png", split="test" if n > 6 else "train", patient=f"Anna {n % 3}") for n in range(9)
    ]
    return jsonl(tmp_path / "table.jsonl", *rows)


def test_the_folder_is_loaded_with_its_splits_and_its_pixels_are_those_of_training(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "samples.jsonl", "rejected.jsonl", "images.jsonl", "images", "card.json",
    }  # fmt: skip
    data = load("folder", str(tmp_path / "out"))
    assert {split: len(result) for split, result in data.splits.items()} == {"train": 7, "test": 2}
    first = data.splits["train"][0]
    with Image.open(tmp_path / "a.png") as original:
        expected = prepare(original, SETTINGS.policy)
    assert prepare(data.open_image(first.images[0]), SETTINGS.policy).tobytes() == expected.tobytes()
    assert data.rejected == ()
    assert data.unused == ()


def test_a_second_run_gives_the_same_bytes_and_decodes_nothing(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(table, tmp_path / "out")
    before = everything(tmp_path / "out")
    monkeypatch.setattr(
        "lowmed.data.ingest.image_store.read_images", lambda *_: pytest.fail("a known image was decoded again")
    )
    build(table, tmp_path / "out")
    assert everything(tmp_path / "out") == before


def test_the_number_of_threads_does_not_change_the_result(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "one", cores=1)
    build(table, tmp_path / "many", cores=8)
    assert everything(tmp_path / "one") == everything(tmp_path / "many")


def test_other_settings_store_other_images(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "out")
    small = samples(tmp_path / "out")[0]["images"]
    build(table, tmp_path / "out", ImageStoreSettings(PixelPolicy(4), salt=SALT))
    assert samples(tmp_path / "out")[0]["images"] != small
    assert len(list((tmp_path / "out/images").iterdir())) == 3


def test_a_changed_image_and_a_removed_row_are_detected(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "out")
    before = samples(tmp_path / "out")
    make_image(77).save(tmp_path / "a.png")
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    build(table, tmp_path / "out")
    after = samples(tmp_path / "out")
    assert len(after) == len(before) - 1
    assert after[0]["images"] != before[0]["images"]
    assert after[1] == before[1]
    assert len(list((tmp_path / "out/images").iterdir())) == 3


def test_a_killed_import_leaves_no_partial_data_set_and_resumes(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "done")

    def killed(done: int, _note: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(table, tmp_path / "out", advance=killed)
    assert not (tmp_path / "out").exists()
    build(table, tmp_path / "out")
    assert everything(tmp_path / "out") == everything(tmp_path / "done")
    assert not list(tmp_path.glob(".out*"))


def test_an_import_killed_between_its_two_renames_loses_nothing(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "out")
    expected = everything(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.replaced")
    build(table, tmp_path / "out")
    assert everything(tmp_path / "out") == expected
    assert not (tmp_path / ".out.replaced").exists()


def test_two_processes_do_not_write_one_folder(table: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.building").mkdir()
    with (tmp_path / ".out.building/lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process"):
            build(table, tmp_path / "out")


def test_a_folder_of_other_files_is_not_overwritten(table: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="lowmed did not write it"):
        build(table, tmp_path / "out")
    assert (tmp_path / "out/thesis.txt").read_text() == "years of work"


def test_bad_rows_are_named_and_too_many_are_an_error(table: Path, tmp_path: Path) -> None:
    bad: list[Row | str] = [row(20, "gone.png"), row(21, "a.png", answer=""), row(1, "a.png"), "{"]
    bad.append(row(22, "a.png", question=["x"]))
    table_with_bad_rows = jsonl(tmp_path / "bad.jsonl", *lines(table), *bad)
    with pytest.raises(DataError, match="5 of 14 rows are rejected") as caught:
        build(table_with_bad_rows, tmp_path / "out")
    assert "1 x no answer" in caught.value.where
    assert not (tmp_path / "out").exists()
    assert len(lines(tmp_path / "out.rejected.jsonl")) == 5
    tally = build(table_with_bad_rows, tmp_path / "out", max_rejected=0.4)
    assert (tally.rows, tally.reasons.total()) == (9, 5)
    assert rejected(tmp_path / "out") == [
        ("bad.jsonl", 10, "the image file does not exist"),
        ("bad.jsonl", 11, "no answer"),
        ("bad.jsonl", 12, "an earlier row has the same id"),
        ("bad.jsonl", 13, "the line is not JSON"),
        ("bad.jsonl", 14, "a cell holds a list instead of a text"),
    ]


def test_no_usable_row_is_always_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 1 rows"):
        build(jsonl(tmp_path / "t.jsonl", row(1, "gone.png")), tmp_path / "out", max_rejected=1.0)
    assert not list(tmp_path.glob("*out")) + list(tmp_path.glob(".*out*"))


def test_groups_are_pseudonyms_and_names_reach_no_row(tmp_path: Path) -> None:
    save_images(tmp_path, "Mueller_Anna_1950-01-01/film.png", "b.png")
    rows = [
        row(0, "Mueller_Anna_1950-01-01/film.png", patient="Mueller^Anna", id="1"),
        row(1, "b.png", patient="Mueller^Anna", id="2"),
        row(2, "b.png", patient="Other", id="x-film-1"),
    ]
    build(jsonl(tmp_path / "t.jsonl", *rows), tmp_path / "out")
    one, two, three = samples(tmp_path / "out")
    assert one["group"] == two["group"] != three["group"]
    assert three["id"] == "x-film-1"
    assert not any(b"Mueller" in content or b"1950" in content for content in everything(tmp_path / "out"))
    build(jsonl(tmp_path / "t.jsonl", *rows), tmp_path / "salted", ImageStoreSettings(PixelPolicy(64), salt=b"another"))
    assert samples(tmp_path / "salted")[0]["group"] != one["group"]


def test_an_id_that_contains_its_file_name_is_replaced(tmp_path: Path) -> None:
    save_images(tmp_path, "Mueller.png")
    build(jsonl(tmp_path / "t.jsonl", row(1, "Mueller.png", id="mueller-7")), tmp_path / "out")
    (sample,) = samples(tmp_path / "out")
    assert "mueller" not in sample["id"].casefold()


def test_rows_without_an_id_get_one_from_their_content(tmp_path: Path) -> None:
    save_images(tmp_path, "a.png")
    rows = [{"image": "a.png", "question": "Side?", "answer": answer} for answer in ("left", "left", "right")]
    build(jsonl(tmp_path / "t.jsonl", *rows), tmp_path / "out", max_rejected=0.5)
    assert len({sample["id"] for sample in samples(tmp_path / "out")}) == 2
    assert rejected(tmp_path / "out") == [("t.jsonl", 2, "an earlier row has the same images, question and answer")]


def test_equal_images_are_stored_once(tmp_path: Path) -> None:
    save_images(tmp_path, "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "copy.png")
    build(jsonl(tmp_path / "t.jsonl", row(1, "a.png"), row(2, "copy.png")), tmp_path / "out")
    one, two = samples(tmp_path / "out")
    assert one["images"] == two["images"]
    assert one["group"] == two["group"]


def test_a_text_only_folder_can_be_read_but_not_trained_on(tmp_path: Path) -> None:
    table = jsonl(tmp_path / "t.jsonl", row(1, "never/seen.png"), row(2, "never/seen.png"))
    build(table, tmp_path / "out", images=False)
    one, two = samples(tmp_path / "out")
    assert one["images"] == two["images"]
    with pytest.raises(DataError, match="without its images"):
        load("folder", str(tmp_path / "out"))


def test_questions_about_text_alone_can_be_trained_on(tmp_path: Path) -> None:
    bare = [{name: value for name, value in row(n, "").items() if name != "image"} for n in range(3)]
    for images in (True, False):
        build(jsonl(tmp_path / "t.jsonl", *bare), tmp_path / "out", images=images)
        assert [sample.images for sample in load("folder", str(tmp_path / "out")).samples] == [()] * 3


def test_an_empty_image_cell_is_a_question_without_an_image_only_if_the_user_says_it(tmp_path: Path) -> None:
    save_images(tmp_path, "a.png")
    rows = [row(1, "a.png"), row(2, ""), row(3, "", question="<image>\nIs there a mass?")]
    table = jsonl(tmp_path / "t.jsonl", *rows)
    build(table, tmp_path / "out", max_rejected=1)
    assert [reason for *_, reason in rejected(tmp_path / "out")] == ["no image", "no image"]
    build(table, tmp_path / "out", max_rejected=1, import_options=ImportOptions(image_optional=True))
    assert [len(sample["images"]) for sample in samples(tmp_path / "out")] == [1, 0]
    assert rejected(tmp_path / "out") == [("t.jsonl", 3, "no image")]  # its text says that there is one


def test_a_stored_image_that_was_changed_is_rejected(table: Path, tmp_path: Path) -> None:
    build(table, tmp_path / "out")
    (reference,) = samples(tmp_path / "out")[0]["images"]
    make_image(5).save(tmp_path / "out" / reference)
    data = load("folder", str(tmp_path / "out"))
    assert {each.reason for each in data.rejected} == {"the image file was changed after it was stored"}
    assert len(data.rejected) == 3


def test_images_may_be_in_another_folder(table: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    moved = shutil.move(table, tmp_path / "tables/t.jsonl")
    build(Path(moved), tmp_path / "out", import_options=ImportOptions(images=tmp_path))
    assert len(samples(tmp_path / "out")) == 9


def test_a_folder_that_cannot_be_written_is_named(table: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "file").write_text("")
        target = tmp_path / "file" / "out"
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        target = tmp_path / "locked" / "out"
    with pytest.raises(LowmedError):
        build(table, target)
