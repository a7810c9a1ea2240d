"""Absolute paths of another machine and web addresses: the message for a whole table, and finding the files."""

import zipfile
from pathlib import Path

import pytest
from data.made import build, jsonl, rejected, row, samples, save_images

from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.raw_sample import ImageRoot
from lowmed.errors import DataError

ELSEWHERE = ("/content/drive/MyDrive/study/images/im0.png", "C:\\Users\\x\\images\\im1.png")
ADDRESSES = ("https://example.org/images/im0.png?size=full", "s3://bucket/images/im1%20b.png")


def test_without_a_named_folder_the_errors_state_how_to_name_it(tmp_path: Path) -> None:
    save_images(tmp_path, "im0.png", "images/im0.png")
    table = jsonl(tmp_path / "t.jsonl", *(row(number, name) for number, name in enumerate((*ELSEWHERE, *ADDRESSES))))
    with pytest.raises(DataError, match="4 of 4 rows are rejected") as caught:
        build(table, tmp_path / "out")
    paths, addresses = caught.value.where.splitlines()[1:]
    assert paths.startswith("2 x the image reference is an absolute path")
    assert addresses.startswith("2 x the image is a web address, and nothing is downloaded")
    assert all("--images FOLDER" in reason for reason in (paths, addresses))


@pytest.mark.parametrize("below", ["", "images/"])
def test_in_the_named_folder_the_last_parts_of_a_path_are_found(tmp_path: Path, below: str) -> None:
    save_images(tmp_path / "here", f"{below}im0.png", f"{below}im1.png", "unrelated/im0.png")
    names = [*ELSEWHERE, ELSEWHERE[0], "https://example.org/study/images/gone.png", "/a/gone.png", "~/x/gone2.png"]
    table = jsonl(tmp_path / "t.jsonl", *(row(number, name) for number, name in enumerate(names)))
    build(table, tmp_path / "out", import_options=ImportOptions(images=tmp_path / "here"), max_rejected=1.0)
    expected = tmp_path / "expected.jsonl"
    jsonl(expected, *(row(n, f"{below}{name}") for n, name in enumerate(("im0.png", "im1.png", "im0.png"))))
    build(expected, tmp_path / "plain", import_options=ImportOptions(images=tmp_path / "here"))
    assert samples(tmp_path / "out") == samples(tmp_path / "plain")
    reasons = [reason for _, _, reason in rejected(tmp_path / "out")]
    assert ["nothing is downloaded" in reason for reason in reasons] == [True, False, False]
    assert all("--images" in reason and "gone" not in reason for reason in reasons)


def test_addresses_lead_to_downloaded_files_and_to_members_of_an_archive(tmp_path: Path) -> None:
    save_images(tmp_path / "here", "images/im0.png", "im1 b.png")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name in ("images/im0.png", "im1 b.png"):
            archive.write(tmp_path / "here" / name, f"top/{name}")
    table = jsonl(tmp_path / "t.jsonl", *(row(number, name) for number, name in enumerate(ADDRESSES)))
    for place in ("here", "images.zip"):
        build(table, tmp_path / "out", import_options=ImportOptions(images=tmp_path / place))
        assert len(samples(tmp_path / "out")) == 2


def test_two_paths_never_become_one_image(tmp_path: Path) -> None:
    save_images(tmp_path / "here", "film.png")
    table = jsonl(tmp_path / "t.jsonl", row(1, "/data/p1/film.png"), row(2, "/data/p2/film.png"))
    with pytest.raises(DataError, match=r"two different images of the table would both be `film.png`") as caught:
        build(table, tmp_path / "out", import_options=ImportOptions(images=tmp_path / "here"))
    assert "/data/p1/film.png\nand /data/p2/film.png" in caught.value.where
    assert not (tmp_path / "out").exists()
    save_images(tmp_path / "here", "p1/film.png", "p2/film.png")
    build(table, tmp_path / "out", import_options=ImportOptions(images=tmp_path / "here"))
    assert len({sample["images"][0] for sample in samples(tmp_path / "out")}) == 2


def test_an_absolute_path_inside_the_folder_needs_no_option(tmp_path: Path) -> None:
    save_images(tmp_path, "images/a.png")
    build(jsonl(tmp_path / "t.jsonl", row(1, str(tmp_path / "images/a.png"))), tmp_path / "out")
    assert len(samples(tmp_path / "out")) == 1


def test_no_path_leads_out_of_the_named_folder(tmp_path: Path) -> None:
    save_images(tmp_path, "outside.png", "here/a.png")
    (tmp_path / "here/link.png").symlink_to(tmp_path / "outside.png")
    root = ImageRoot(tmp_path / "here", named=True)
    for name in ("/x/../outside.png", "/x/link.png", "https://host/../outside.png", "/", "https://host", "file:///"):
        with pytest.raises(ValueError, match="--images"):
            root.image(name, "row")
