"""Images in a folder: which open, and which are refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lowmed.data.image.files import image_problems, open_in, unused_images
from lowmed.errors import DataError


def save(folder: Path, name: str, image: Image.Image | None = None) -> Path:
    (image or Image.effect_noise((64, 64), 50)).save(folder / name)
    return folder / name


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_only_broken_images_are_named(tmp_path: Path) -> None:
    save(tmp_path, "good.png")
    content = save(tmp_path, "good.jpg").read_bytes()
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.jpg").write_bytes(content[:-40])
    (tmp_path / "page.png").write_text("<html>404 not found</html>")
    (tmp_path / "a_folder.png").mkdir()
    save(tmp_path, "one_pixel.png", Image.new("L", (1, 1)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    bad = ["empty.png", "cut.jpg", "page.png", "a_folder.png", "one_pixel.png", "bomb.png", "gone.png"]
    result = image_problems(tmp_path, ["good.png", "good.jpg", *bad, *bad])
    assert sorted(result) == sorted(bad)
    assert "does not exist" in result["gone.png"]
    assert "does not exist" in result["a_folder.png"]
    assert "truncated" in result["cut.jpg"]
    assert "Bomb" in result["bomb.png"]
    for reference in bad:
        with pytest.raises(DataError) as caught:
            open_in(tmp_path, reference)
        assert reference in caught.value.where
        assert caught.value.fix


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10000, 10000, 8, 0, 0, 0, 0))
    (tmp_path / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(DataError, match="megapixels"):
        open_in(tmp_path, "big.png")


@pytest.mark.parametrize("reference", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_a_reference_outside_the_folder_is_refused(tmp_path: Path, reference: str) -> None:
    inside = tmp_path / "data"
    (inside / "a").mkdir(parents=True)
    save(tmp_path, "secret.png")
    with pytest.raises(DataError, match="outside the data folder"):
        open_in(inside, reference)


def test_a_file_of_several_images_is_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (64, 64), shade) for shade in (10, 100, 200)]
    frames[0].save(tmp_path / "volume.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="3 images"):
        open_in(tmp_path, "volume.tif")


def test_a_sixteen_bit_tiff_with_white_zero_is_inverted(tmp_path: Path) -> None:
    stored = np.full((64, 64), 100, np.uint16)
    stored[:, 32:] = 60000
    film = Image.fromarray(stored)
    film.save(tmp_path / "white.tif", tiffinfo={262: 0})
    film.save(tmp_path / "black.tif", tiffinfo={262: 1})
    white, black = (np.asarray(open_in(tmp_path, f"{name}.tif")) for name in ("white", "black"))
    assert white[0, 0] > white[0, 63]
    assert (black == stored).all()


def test_postscript_is_not_run(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "drawing.eps")
    (tmp_path / "drawing.eps").rename(tmp_path / "drawing.png")
    with pytest.raises(DataError, match="a PostScript file, not an image"):
        open_in(tmp_path, "drawing.png")


def test_unused_images_are_named_relative_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    save(tmp_path, "used.png")
    save(tmp_path / "deep", "orphan.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    assert unused_images(tmp_path, ["./used.png"]) == ("deep/orphan.PNG",)
