"""Images that would silently show nothing, or less than the file holds, and files that are not images."""

import gzip
import json
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.made import FIXTURES, SALT, build, jsonl, lines, make_image, rejected, row, samples
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from lowmed.cli.data import app
from lowmed.data.audit.report import audit
from lowmed.data.image import deep_colour, other_files
from lowmed.data.image.blank import is_blank
from lowmed.data.image.files import decode
from lowmed.data.image.montage import MONTAGE_FRAMES, MONTAGE_PIXELS, montage, spaced_numbers
from lowmed.data.image.policy import PixelPolicy, one_channel, prepare
from lowmed.data.image.read import Selection, read_images
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.errors import DataError
from lowmed.ship.ask import open_images

POLICY = PixelPolicy(256)
Array = np.ndarray[Any, Any]
TWELVE_BIT = np.random.default_rng(0).integers(320, 3841, (40, 48, 4)).astype(np.uint16)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


WHOLE = ((0, 0, 1, 1),)
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def deep_png(values: Array, transparent: bytes = b"", exif: bytes = b"", passes: Any = WHOLE) -> bytes:
    """A PNG of 16 bits: grey, grey with alpha, RGB or RGBA; interlaced if it is written in the seven PASSES."""
    high, wide = values.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    parts = (values[top::down, left::across] for left, top, across, down in passes)
    body = b"".join(b"\0" + line.astype(">u2").tobytes() for part in parts for line in part)
    chunks = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 16, kind, 0, 0, len(passes) > 1))
    chunks += chunk(b"tRNS", transparent) if transparent else b""
    chunks += chunk(b"eXIf", exif) if exif else b""
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def deep_tiff(values: Array, order: str, *, packed: bool, extra: int | None = None, planar: bool = False) -> bytes:
    """A TIFF of 16 bits a channel in one strip, or one for each channel if planar."""
    high, wide, channels = values.shape
    planes = np.moveaxis(values, 2, 0) if planar else values[None]
    strips = [plane.astype(f"{order}u2").tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    start = 1024
    offsets = [start + sum(map(len, strips[:number])) for number in range(len(strips))]
    tags: list[tuple[int, str, list[int]]] = [
        (256, "I", [wide]), (257, "I", [high]), (258, "H", [16] * channels), (259, "H", [8 if packed else 1]),
        (262, "H", [2]), (273, "I", offsets), (277, "H", [channels]), (278, "I", [high]),
        (279, "I", [len(strip) for strip in strips]), (284, "H", [2 if planar else 1]),
    ]  # fmt: skip
    tags += [(338, "H", [extra])] if extra is not None else []
    entries, more, after = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, form, numbers in tags:
        data = struct.pack(f"{order}{len(numbers)}{form}", *numbers)
        if len(data) > 4:
            more, data = more + data, struct.pack(f"{order}I", after + len(more))
        entries += struct.pack(f"{order}HHI", tag, 3 if form == "H" else 4, len(numbers)) + data.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return (head + entries + bytes(4) + more).ljust(start, b"\0") + b"".join(strips)


def opened(content: bytes) -> Image.Image:
    return decode(BytesIO(content), "film")


def strokes(colour: tuple[int, ...], mode: str = "RGBA") -> Image.Image:
    image = Image.new("RGBA", (120, 80), (*(255 - value for value in colour[:3]), 0))
    ImageDraw.Draw(image).line([(5, 70), (40, 10), (80, 60), (115, 20)], fill=(*colour[:3], 255), width=3)
    if mode == "P":
        return image.quantize(8, Image.Quantize.FASTOCTREE)
    return image.convert(mode)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 255, 0), (0, 0, 255), (128, 128, 128)], ids=str)
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("form", ["PNG", "direct"])
def test_strokes_on_transparency_stay_visible(colour: tuple[int, ...], mode: str, form: str) -> None:
    image = strokes(colour, mode)
    if form == "PNG":
        stored = BytesIO()
        image.save(stored, "PNG")
        image = opened(stored.getvalue())
    seen = np.asarray(prepare(image, POLICY).convert("L"), dtype=int)
    ground = int(np.median(seen))
    assert (np.abs(seen - ground) > 20).mean() > 0.03
    if max(colour) - min(colour) < 255:
        assert ground == (0 if min(colour) == 255 else 255)


def test_black_and_white_strokes_in_one_image_are_both_visible() -> None:
    image = strokes((0, 0, 0))
    ImageDraw.Draw(image).line([(5, 10), (115, 75)], fill=(255, 255, 255, 255), width=3)
    seen = np.asarray(one_channel(image))
    assert (seen.min(), int(np.median(seen)), seen.max()) == (0, 128, 255)


def test_a_few_labels_on_a_bright_shape_are_not_lost() -> None:
    image = Image.new("RGBA", (100, 100))
    ImageDraw.Draw(image).rectangle((0, 0, 99, 69), fill=(200, 200, 200, 255))
    ImageDraw.Draw(image).line([(5, 90), (95, 90)], fill=(0, 0, 0, 255), width=2)
    assert np.asarray(one_channel(image))[95, 50] == 255


def test_the_colour_under_invisible_pixels_does_not_count_and_half_transparency_is_mixed() -> None:
    image = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    image.paste((0, 0, 0, 128), (10, 10, 30, 30))
    seen = np.asarray(one_channel(image))
    assert seen[0, 0] == 255
    assert seen[20, 20] in (127, 128)


def test_an_opaque_alpha_channel_changes_nothing_and_a_fully_transparent_image_is_blank() -> None:
    image = make_image(1).convert("RGB")
    opaque = image.copy()
    opaque.putalpha(255)
    assert one_channel(opaque).tobytes() == one_channel(image).tobytes()
    image.putalpha(0)
    assert is_blank(one_channel(image))


def test_a_palette_gif_with_transparency_is_composited() -> None:
    stored = BytesIO()
    image = strokes((0, 0, 0), "P")
    image.save(stored, "GIF", transparency=int(np.bincount(np.asarray(image).ravel()).argmax()))
    came = Image.open(BytesIO(stored.getvalue()))
    assert "transparency" in came.info
    seen = np.asarray(one_channel(opened(stored.getvalue())))
    assert np.median(seen) == 255
    assert seen.min() < 20


def test_a_transparent_value_of_a_grey_image_with_16_bits_is_the_ground() -> None:
    values = np.full((40, 40), 60_000, np.uint16)
    values[10:30, 10:30] = np.linspace(1000, 1900, 400).reshape(20, 20)
    seen = np.asarray(one_channel(opened(deep_png(values, (60_000).to_bytes(2)))))
    assert seen[0, 0] == seen[39, 39]
    assert len(np.unique(seen[10:30, 10:30])) > 200


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("form", ["png", "ppm", "tiff <", "tiff >", "packed tiff <", "packed tiff >"])
def test_deep_colour_is_scaled_from_its_own_darkest_to_its_own_brightest_value(form: str, channels: int) -> None:
    values = TWELVE_BIT[..., :channels].copy()
    values[..., 3:] = 65_535
    if form == "png":
        content = deep_png(values)
    elif form == "ppm":
        if channels == 4:
            return
        content = b"P6\n48 40\n65535\n" + values.astype(">u2").tobytes()
    else:
        content = deep_tiff(values, form[-1], packed="packed" in form, extra=2 if channels == 4 else None)
    seen = np.asarray(prepare(opened(content), PixelPolicy(4)))
    colour = values[..., :3].astype(float)
    exact = ((colour - colour.min()) * (255 / np.ptp(colour))).round().astype(np.uint8)
    assert np.array_equal(np.asarray(one_channel(opened(content))), exact)
    assert seen.std() > 20


def test_the_same_colours_in_8_and_in_16_bits_give_the_same_image() -> None:
    eight = np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    eight[0, 0], eight[0, 1] = 0, 255
    assert np.array_equal(np.asarray(opened(deep_png(eight.astype(np.uint16) * 257))), eight)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_interlaced_deep_images_are_read_in_full(channels: int) -> None:
    values = TWELVE_BIT[:21, :35, :channels]
    assert opened(deep_png(values, passes=PASSES)).tobytes() == opened(deep_png(values)).tobytes()


def test_deep_values_under_invisible_pixels_do_not_set_the_scale() -> None:
    values = TWELVE_BIT.copy()
    values[..., 3] = 65_535
    values[:10] = (65_535, 65_535, 65_535, 0)
    grey = np.stack([values[..., 0], values[..., 3]], axis=-1)
    for content in (deep_png(values), deep_png(grey), deep_tiff(values, "<", packed=True, extra=2)):
        seen = np.asarray(one_channel(opened(content)))
        assert (seen[10:].min(), seen[10:].max()) == (0, 255)
    clear = (values[3, 3, :3]).astype(">u2").tobytes()
    seen = np.asarray(one_channel(opened(deep_png(values[..., :3], clear))))
    assert seen[10:].max() == 255


def test_deep_colours_multiplied_by_their_opacity_are_divided() -> None:
    values = np.zeros((16, 16, 4), np.uint16)
    values[...] = (1000, 500, 250, 32_768)
    values[0, 0] = (0, 0, 0, 65_535)
    with_alpha = np.asarray(opened(deep_tiff(values, "<", packed=False, extra=1)))
    assert with_alpha[5, 5].tolist() == [255, 128, 64, 128]


def test_deep_colour_is_turned_as_its_tags_say() -> None:
    exif = Image.Exif()
    exif[274] = 6
    content = deep_png(TWELVE_BIT[..., :3], exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    assert opened(content).size == (40, 48)
    plain = opened(deep_png(TWELVE_BIT[..., :3]))
    assert opened(content).tobytes() == plain.transpose(Image.Transpose.ROTATE_270).tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_deep_colour_in_separate_planes_is_refused(packed: bool) -> None:
    with pytest.raises(DataError, match="16 bits are stored one after another"):
        opened(deep_tiff(TWELVE_BIT[..., :3], "<", packed=packed, planar=True))


def test_deep_values_of_one_value_are_black() -> None:
    assert not np.asarray(deep_colour.scaled(np.full((8, 8, 3), 7000, np.uint16), None)).any()
    clear = deep_colour.scaled(np.full((8, 8, 3), 7000, np.uint16), np.zeros((8, 8), np.uint16))
    assert is_blank(one_channel(clear))


def noisy(value: int, spread: int, mode: str = "L") -> Image.Image:
    noise = np.random.default_rng(0).integers(-spread, spread + 1, (96, 96))
    return Image.fromarray(np.clip(value + noise, 0, 255).astype(np.uint8)).convert(mode)


def dotted(count: int) -> Image.Image:
    image = Image.new("L", (200, 200), 40)
    for number in range(count):
        image.putpixel((3 + 5 * (number % 38), 3 + 5 * (number // 38)), 255)
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (noisy(0, 0), True), (noisy(255, 0, "RGB"), True), (noisy(128, 3), True), (noisy(2, 2, "RGB"), True),
        (dotted(1), True), (dotted(400), False), (noisy(100, 12), False), (make_image(1), False),
        (make_image(1).point(lambda value: 100 + value // 12), False), (strokes((0, 0, 0)).convert("RGB"), False),
    ],
)  # fmt: skip
def test_images_of_nearly_one_value_are_not_faint_ones(image: Image.Image, expected: bool) -> None:
    assert is_blank(image) == expected


@pytest.mark.parametrize("side", [64, 96, 256, 512, 1024])
def test_a_single_pixel_is_blank_and_a_line_is_not_after_resizing(side: int) -> None:
    pixel, line = Image.new("L", (side, side), 30), Image.new("L", (side, side), 255)
    pixel.putpixel((9, 9), 255)
    ImageDraw.Draw(line).line([(0, side // 2), (side, side // 2)], fill=0)
    assert is_blank(prepare(pixel, POLICY))
    assert not is_blank(prepare(line, POLICY))


def test_no_real_radiograph_is_blank() -> None:
    files = sorted((FIXTURES / "vqa-rad/images").iterdir())
    assert len(files) == 61
    for file in files:
        with Image.open(file) as image:
            assert not is_blank(prepare(image, PixelPolicy(16)))


def test_blank_images_are_counted_by_prepare_and_named_by_the_audit(tmp_path: Path) -> None:
    noisy(0, 0).save(tmp_path / "black.png")
    noisy(255, 1, "RGB").save(tmp_path / "white.jpg")
    make_image(1).save(tmp_path / "good.png")
    names = ["good.png", "black.png", "white.jpg", "black.png"]
    counts = build(jsonl(tmp_path / "t.jsonl", *(row(n, name) for n, name in enumerate(names))), tmp_path / "out")
    assert counts.rows == 4
    assert (counts.images.blank, counts.first["blank"]) == (2, "t.jsonl:2")
    assert json.loads((tmp_path / "out/card.json").read_text())["image_notes"]["blank"] == 2
    blank = {
        image for stored in lines(tmp_path / "out/images.jsonl") for image in stored["images"] if stored["blank"][0]
    }
    result = audit(tmp_path / "out", POLICY)
    assert set(result.images.blank_shown) == blank
    (note,) = [note for note in result.review if "one value" in note]
    assert note.startswith("2 images")
    assert all(image in note for image in blank)
    assert result.verdict == "pass"


def stack(path: Path, count: int = 4) -> Path:
    frames = [make_image(seed) for seed in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def test_unused_frames_are_counted_and_a_preview_is_none(tmp_path: Path) -> None:
    stack(tmp_path / "cine.gif")
    stack(tmp_path / "stack.tif", 3)
    make_image(9).convert("RGB").save(
        tmp_path / "camera.jpg", "MPO", save_all=True, append_images=[make_image(8).convert("RGB")]
    )
    make_image(7).save(tmp_path / "one.png")
    names = ["one.png", "camera.jpg", "cine.gif", "stack.tif"]
    table = jsonl(tmp_path / "t.jsonl", *(row(number, name) for number, name in enumerate(names)))
    counts = build(table, tmp_path / "out")
    assert (counts.images.partly_used, counts.images.unused_frames, counts.first["unused"]) == (2, 5, "t.jsonl:3")
    assert any("2 source files have frames" in note for note in audit(tmp_path / "out", POLICY).review)
    for which in ("all", "montage"):
        settings = ImageStoreSettings(POLICY, which, salt=SALT)
        assert build(table, tmp_path / which, settings).images.partly_used == 0


def test_the_command_states_unused_frames_and_blank_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    stack(tmp_path / "cine.gif")
    noisy(0, 0).save(tmp_path / "black.png")
    table = jsonl(tmp_path / "t.jsonl", row(1, "cine.gif"), row(2, "black.png"))
    command = ["prepare", str(table), "--out", str(tmp_path / "out")]
    plain = CliRunner().invoke(app, command)
    assert "look at   1 image shows one value, or nearly (first: t.jsonl:2)" in plain.stdout
    assert "of 1 file with several frames only the first frame is used, 3 are not (first: t.jsonl:1)" in plain.stdout
    assert "--frames middle|spaced|all|montage" in plain.stdout
    sheet = CliRunner().invoke(app, [*command, "--frames", "montage", "--json"])
    assert sheet.exit_code == 0
    notes = json.loads(sheet.stdout[sheet.stdout.index("{") :])["look_at"]
    assert len(notes) == 1
    audited = CliRunner().invoke(app, ["audit", str(tmp_path / "out")])
    (stored,) = [line["images"][0] for line in lines(tmp_path / "out/images.jsonl") if line["blank"] == [True]]
    assert f"no question about them can be answered: {stored}" in audited.stdout
    assert stored in (tmp_path / "out/audit.html").read_text()


@pytest.mark.parametrize("name", ["cine.gif", "stack.tif"])
def test_a_montage_shows_every_frame_in_reading_order(tmp_path: Path, name: str) -> None:
    content = stack(tmp_path / name).read_bytes()
    (sheet,) = read_images(content, name, Selection("montage"), SALT).images
    assert sheet.size == (192, 160)
    for number in range(4):
        left, top = 96 * (number % 2), 80 * (number // 2)
        cell = np.asarray(sheet.convert("L").crop((left, top, left + 96, top + 80)), dtype=int)
        assert np.abs(cell - np.asarray(make_image(number), dtype=int)).mean() < 4
    assert read_images(content, name, Selection("montage"), SALT).images[0].tobytes() == sheet.tobytes()


def test_a_montage_of_dicom_frames_and_of_one_frame() -> None:
    pytest.importorskip("pydicom")
    from data.test_dicom import film

    volume = np.stack([np.full((32, 32), 100 * number) for number in range(40)])
    volume[:, 0, 0] = 4000
    result = read_images(film(volume), "x.dcm", Selection("montage"), SALT)
    assert (result.images[0].size, result.frames, result.unused) == ((128, 128), 40, 24)
    single = read_images(film(volume[0]), "x.dcm", Selection("montage"), SALT)
    assert single.images[0].size == (32, 32)
    assert single.unused == 0


def test_deep_grey_frames_of_a_montage_have_one_scale(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((20, 20), value, np.uint16)) for value in (100, 200, 300, 400)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    (sheet,) = read_images((tmp_path / "stack.tif").read_bytes(), "stack.tif", Selection("montage"), SALT).images
    assert sorted(set(sheet.tobytes())) == [0, 85, 170, 255]
    bad = Image.fromarray(np.full((20, 20), np.nan, np.float32))
    bad.save(tmp_path / "bad.tif", save_all=True, append_images=[bad])
    with pytest.raises(DataError, match="not finite"):
        read_images((tmp_path / "bad.tif").read_bytes(), "bad.tif", Selection("montage"), SALT)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 1000])
def test_the_frames_of_a_montage_are_evenly_spaced(count: int) -> None:
    numbers = spaced_numbers(count, MONTAGE_FRAMES)
    assert len(numbers) == min(count, MONTAGE_FRAMES)
    assert sorted(set(numbers)) == numbers
    gaps = {right - left for left, right in zip([-1, *numbers], [*numbers, count], strict=True)}
    assert count < 17 or max(gaps) - min(gaps) <= count // 16
    assert 0 <= numbers[0] <= numbers[-1] < count


def test_a_montage_has_a_bounded_size_and_nearly_equal_sides() -> None:
    for count, size in [(16, (3000, 2000)), (7, (40, 400)), (2, (500, 100))]:
        sheet = montage([Image.new("L", size, 9)] * count)
        assert sheet.width * sheet.height <= MONTAGE_PIXELS
        assert 1 / 3 < sheet.width / sheet.height < 3
    mixed = montage([Image.new("RGB", (60, 40), (255, 0, 0)), Image.new("I;16", (20, 80), 3)])
    assert mixed.mode == "RGB"


def nothing_like_an_image() -> dict[str, tuple[bytes, str]]:
    archive, arrays = BytesIO(), BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("scan.png", b"x")
    np.savez(arrays, images=np.zeros(3))
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    return {
        "lfs.png": (lfs, "Git LFS pointer: run git lfs pull"),
        "cut_lfs.png": (lfs[:30], "Git LFS pointer"),
        "page.jpg": (b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Not found</body></html>", "HTML page"),
        "wide_page.jpg": ("\ufeff<html><head></head></html>".encode("utf-16-le"), "HTML page"),
        "denied.png": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML document"),
        "drawing.png": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>', "SVG drawing"),
        "report.png": (b"%PDF-1.4\n%%EOF\n", "PDF document"),
        "photo.jpg": (heic, "HEIC image"),
        "photo.avif": (heic.replace(b"heic", b"avif"), "AVIF image"),
        "cine.jpg": (b"\0\0\0\x18ftypisom" + bytes(99), "MP4"),
        "loop.png": (b"RIFF\x10\0\0\0AVI LIST" + bytes(99), "AVI"),
        "array.png": (b"\x93NUMPY\x01\0" + bytes(99), "NumPy array"),
        "arrays.png": (arrays.getvalue(), "NumPy archive"),
        "images.png": (archive.getvalue(), "zip archive"),
        "packed.png": (gzip.compress(b"hello"), "gzip file"),
        "volume.hdf": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        "note.dcm": (b"The film was taken at night.", "a text, not an image"),
        "latin.txt": ("Röntgenbild des Füßes".encode("cp1252"), "a text, not an image"),
        "labels.png": (b'{"label": 3}', "JSON text"),
        "coded.png": (b"iVBORw0KGgoAAAANSUhEUgAA", "base64 text"),
        "._scan.png": (b"\0\x05\x16\x07\0\x02\0\0" + bytes(99), "macOS"),
        "zeros.png": (bytes(500), "zero bytes only"),
        "start.png": (b"\x89PNG\r\n\x1a\n", "damaged at its beginning"),
        "empty.png": (b"", "empty"),
        "random.png": (np.random.default_rng(0).bytes(3000), "cannot be decoded"),
    }


def test_files_that_are_not_images_are_named_for_what_they_are(tmp_path: Path) -> None:
    files = nothing_like_an_image()
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    table = jsonl(tmp_path / "t.jsonl", *(row(number, name) for number, name in enumerate(files)))
    with pytest.raises(DataError, match="Git LFS pointer: run git lfs pull"):
        build(table, tmp_path / "out")
    make_image(1).save(tmp_path / "good.png")
    table = jsonl(tmp_path / "t.jsonl", *(row(n, name) for n, name in enumerate([*files, "good.png"])))
    build(table, tmp_path / "out", max_rejected=1.0)
    assert len(samples(tmp_path / "out")) == 1
    for (name, (_, expected)), (_, _, reason) in zip(files.items(), rejected(tmp_path / "out"), strict=True):
        assert expected in reason, name
        assert name not in reason


@pytest.mark.parametrize("name", ["lfs.png", "page.jpg", "note.dcm", "array.png", "photo.jpg"])
def test_a_question_about_no_image_gets_the_same_message(tmp_path: Path, name: str) -> None:
    content, expected = nothing_like_an_image()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        open_images([str(tmp_path / name)], POLICY)
    assert caught.value.where.endswith(name)


def test_no_beginning_of_a_real_image_is_taken_for_something_else() -> None:
    for form in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000"):
        stored = BytesIO()
        make_image(1).convert("RGB").save(stored, form)
        assert other_files.describe(stored.getvalue()[:4096]) == "", form
        assert other_files.begins_as_image(stored.getvalue()[:16]), form


def test_an_image_under_a_dicom_name_is_read() -> None:
    stored = BytesIO()
    make_image(1).save(stored, "PNG")
    (image,) = read_images(stored.getvalue(), "film.dcm", Selection(), SALT).images
    assert image.size == (96, 80)


@pytest.mark.parametrize("kept", [100, 200, 4000])
def test_damaged_deep_colour_is_a_data_error(kept: int) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        opened(deep_png(TWELVE_BIT[..., :3])[:kept])
