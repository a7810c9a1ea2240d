"""Stored images contain pixels and no metadata; images that cannot be stored are named."""

import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from data.made import SETTINGS, build, everything, jsonl, make_image, rejected, row, samples, save_images
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from lowmed.data.audit.phi_patterns import phi_in_file
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.errors import DataError

PLANTED = "Mueller^Anna 19500101"
Save = Callable[[Path], None]


def jpeg(path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = PLANTED
    exif[274] = 6
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{PLANTED}</x:xmpmeta>".encode()
    make_image(1).save(
        path, "JPEG", exif=exif, xmp=xmp, comment=PLANTED.encode(), icc_profile=b"\0" * 128 + PLANTED.encode()
    )


def png(path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Patient", PLANTED)
    texts.add_itxt("XML:com.adobe.xmp", PLANTED, zip=True)
    exif = Image.Exif()
    exif[0x010E] = PLANTED
    make_image(2).save(path, "PNG", pnginfo=texts, exif=exif, icc_profile=b"\0" * 128 + PLANTED.encode())
    path.write_bytes(path.read_bytes() + PLANTED.encode())  # after the end of the image, which viewers ignore


def tiff(path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = tags[315] = tags[306] = PLANTED
    make_image(3).save(path, "TIFF", tiffinfo=tags)


def webp(path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = PLANTED
    make_image(4).convert("RGB").save(path, "WEBP", exif=exif, xmp=PLANTED.encode(), lossless=True)


def gif(path: Path) -> None:
    make_image(5).save(path, "GIF", comment=PLANTED.encode())


def as_read(content: bytes) -> bytes:
    """A PNG file with every chunk unpacked, so that nothing can hide in a compressed one."""
    result, at = [content], 8
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        body = content[at + 8 : at + 8 + length]
        for start in range(min(len(body), 64)):
            try:
                result.append(zlib.decompress(body[start:]))
            except zlib.error:
                continue
        at += length + 12
    return b"".join(result)


@pytest.mark.parametrize("save", [jpeg, png, tiff, webp, gif], ids=lambda save: save.__name__)
def test_no_planted_value_survives(tmp_path: Path, save: Save) -> None:
    file = tmp_path / f"film.{save.__name__}"
    save(file)
    planted = file.read_bytes() if save is not png else as_read(file.read_bytes())
    assert PLANTED.encode() in planted
    assert phi_in_file(file.read_bytes()) != ()
    build(jsonl(tmp_path / "t.jsonl", row(1, file.name)), tmp_path / "out")
    for content in everything(tmp_path / "out"):
        for secret in (PLANTED, "Mueller", "19500101"):
            assert secret.encode() not in as_read(content)
            assert secret.encode("utf-16-le") not in content
    (stored,) = (tmp_path / "out/images").iterdir()
    assert phi_in_file(stored.read_bytes()) == ()


def test_an_icc_profile_is_left_out(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    make_image(1).convert("RGB").save(tmp_path / "a.jpg", icc_profile=profile)
    build(jsonl(tmp_path / "t.jsonl", row(1, "a.jpg")), tmp_path / "out")
    (stored,) = (tmp_path / "out/images").iterdir()
    with Image.open(stored) as image:
        assert image.info == {}


FORMS: dict[str, Callable[[Path], None]] = {
    "sixteen.png": lambda path: Image.fromarray(np.asarray(make_image(1)).astype(np.uint16) * 257).save(path),
    "one_bit.png": lambda path: make_image(1).convert("1").save(path),
    "cmyk.jpg": lambda path: make_image(1).convert("RGB").convert("CMYK").save(path),
    "palette.png": lambda path: make_image(1).convert("RGB").quantize(16).save(path),
    "alpha.png": lambda path: make_image(1).convert("RGBA").save(path),
    "plain.bmp": lambda path: make_image(1).save(path),
    "plain.webp": lambda path: make_image(1).convert("RGB").save(path, lossless=True),
    "plain.tif": lambda path: make_image(1).save(path),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_image_format_is_stored_with_the_pixels_of_training(tmp_path: Path, name: str) -> None:
    FORMS[name](tmp_path / name)
    build(jsonl(tmp_path / "t.jsonl", row(1, name)), tmp_path / "out")
    (stored,) = (tmp_path / "out/images").iterdir()
    with Image.open(tmp_path / name) as came, Image.open(stored) as kept:
        assert np.array_equal(np.asarray(kept.convert("RGB")), np.asarray(prepare(came, SETTINGS.policy)))
        assert kept.mode == ("L" if np.ptp(np.asarray(kept.convert("RGB")), axis=-1).max() == 0 else "RGB")


@pytest.mark.parametrize(("frames", "expected"), [("first", [0]), ("middle", [1]), ("all", [0, 1, 2])])
def test_the_selected_frames_become_the_images_of_a_question(tmp_path: Path, frames: str, expected: list[int]) -> None:
    pages = [make_image(seed) for seed in range(3)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    settings = ImageStoreSettings(PixelPolicy(64), frames)  # type: ignore[arg-type]
    build(jsonl(tmp_path / "t.jsonl", row(1, "scan.tif")), tmp_path / "out", settings)
    (sample,) = samples(tmp_path / "out")
    seen = [np.asarray(Image.open(tmp_path / "out" / image).convert("RGB")) for image in sample["images"]]
    wanted = [np.asarray(prepare(pages[number], settings.policy)) for number in expected]
    assert len(seen) == len(wanted)
    assert all(np.array_equal(one, other) for one, other in zip(seen, wanted, strict=True))


def test_images_that_cannot_be_stored_are_named_and_skipped(tmp_path: Path) -> None:
    save_images(tmp_path, "good.png", "outside.png")
    (tmp_path / "set").mkdir()
    for name in ("zero.png", "cut.png", "one.png", "wide.png", "strip.png", "note.png"):
        (tmp_path / "set" / name).write_bytes(b"")
    good = (tmp_path / "good.png").read_bytes()
    (tmp_path / "set/good.png").write_bytes(good)
    (tmp_path / "set/cut.png").write_bytes(good[: len(good) // 2])
    Image.new("L", (1, 1)).save(tmp_path / "set/one.png")
    Image.new("L", (20_000, 900), 128).save(tmp_path / "set/wide.png")
    Image.new("L", (3000, 10)).save(tmp_path / "set/strip.png")
    (tmp_path / "set/note.png").write_text("this is not an image")
    (tmp_path / "set/bomb.png").write_bytes(bomb(60_000, 60_000))
    Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(tmp_path / "set/nan.tif")
    (tmp_path / "set/link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "set/loop.png").symlink_to(tmp_path / "set/loop.png")
    names = ["good.png", "zero.png", "cut.png", "one.png", "wide.png", "strip.png", "note.png", "bomb.png", "link.png"]
    names += [
        "loop.png",
        "../outside.png",
        str(tmp_path / "outside.png"),
        "..\\outside.png",
        "a" * 5000,
        "x\0y.png",
        "nan.tif",
    ]
    table = jsonl(tmp_path / "set/t.jsonl", *(row(number, name) for number, name in enumerate(names)))
    build(table, tmp_path / "out", max_rejected=1.0)
    assert [sample["id"] for sample in samples(tmp_path / "out")] == ["q0", "q4"]
    reasons = [reason for _, _, reason in rejected(tmp_path / "out")]
    expected = [
        "empty",
        "truncated",
        "1 x 1 pixels",
        "3000 x 10",
        "a text, not an image",
        "decompression bomb",
        "outside the data folder",
    ]
    expected += [
        "the image file",
        "outside the data folder",
        "outside the data folder",
        "outside the data folder",
        "cannot be reached",
        "does not exist",
        "not finite",
    ]
    for reason, message in zip(reasons, expected, strict=True):
        assert message in reason
    assert "0x" not in "".join(reasons)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that would be gigabytes in memory."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_archive_members_are_read_in_place_and_stay_inside(tmp_path: Path) -> None:
    written = BytesIO()
    make_image(1).save(written, "PNG")
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/a.png", written.getvalue())
        archive.writestr("../../escaped.png", written.getvalue())
        archive.writestr("/etc/escaped.png", written.getvalue())
        archive.writestr("images/empty.png", b"")
    names = ("a.png", "images/a.png", "../../escaped.png", "/etc/escaped.png", "empty.png", "gone.png")
    table = jsonl(tmp_path / "t.jsonl", *(row(number, name) for number, name in enumerate(names)))
    build(table, tmp_path / "out", import_options=ImportOptions(images=tmp_path / "images.zip"), max_rejected=1.0)
    assert [sample["id"] for sample in samples(tmp_path / "out")] == ["q0", "q1"]
    assert [reason for _, _, reason in rejected(tmp_path / "out")] == [
        "the image reference is outside the data folder",
        "the folder of --images holds no file with the last parts of this absolute path: name another folder",
        "the image file is empty",
        "the archive does not contain the image",
    ]
    assert {path.name for path in tmp_path.rglob("*.png")} == {Path(samples(tmp_path / "out")[0]["images"][0]).name}


def test_a_damaged_archive_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK no archive")
    table = jsonl(tmp_path / "t.jsonl", row(1, "a.png"))
    with pytest.raises(DataError, match="rejected") as caught:
        build(table, tmp_path / "out", import_options=ImportOptions(images=tmp_path / "images.zip"))
    assert "the archive cannot be read" in str(caught.value)
