"""NIfTI volumes: planes, orientation, brightness, and damaged or hostile headers."""

import gzip
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.made import SALT, build, everything, jsonl, lines, rejected, row, samples
from PIL import Image

from lowmed.data.image.files import open_in
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.image.read import Selection, read_images
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.errors import DataError
from lowmed.ship.ask import open_images

nibabel = pytest.importorskip("nibabel")
POLICY = PixelPolicy(64)
Array = np.ndarray[Any, Any]
# Sizes from right to left, back to front, foot to head differ, so that no axis can be taken for another.
SHAPE = (20, 30, 40)


def volume(values: Array, affine: Array | None = None, kind: Any = None) -> bytes:
    image = (kind or nibabel.Nifti1Image)(values, np.eye(4) if affine is None else affine)
    content: bytes = image.to_bytes()
    return content


def marked() -> Array:
    """Bright at the right, the front and the head of the patient, each in its own strength."""
    values = np.zeros(SHAPE, np.int16)
    values[-4:, :, :] += 100  # right
    values[:, -4:, :] += 300  # front
    values[:, :, -4:] += 500  # head
    return values


def shown(content: bytes, **selection: Any) -> list[Array]:
    read = read_images(content, "scan.nii.gz", Selection(**{"frames": "middle", **selection}), SALT)
    return [np.asarray(image).astype(int) for image in read.images]


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, 1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_slices_are_shown_as_radiologists_do_however_they_are_stored(
    flips: tuple[int, ...], order: tuple[int, ...]
) -> None:
    affine = np.zeros((4, 4))
    for axis, target in enumerate(order):
        affine[target, axis] = flips[target]
    affine[3, 3] = 1
    values = marked()
    for axis, flip in enumerate(flips):
        values = np.flip(values, axis) if flip < 0 else values
    content = volume(np.ascontiguousarray(values.transpose(order)), affine)
    (axial,) = shown(content, plane="axial")
    assert axial.shape == (30, 20)
    assert axial[20, 0] > axial[20, -1]  # the patient's right is on the left
    assert axial[0, 10] > axial[-1, 10]  # the front is on top
    (coronal,) = shown(content, plane="coronal")
    assert coronal.shape == (40, 20)
    assert coronal[20, 0] > coronal[20, -1]
    assert coronal[0, 10] > coronal[-1, 10]  # the head is on top
    (sagittal,) = shown(content, plane="sagittal")
    assert sagittal.shape == (40, 30)
    assert sagittal[20, 0] > sagittal[20, -1]  # the face looks to the left
    assert sagittal[0, 15] > sagittal[-1, 15]
    first, last = shown(content, frames="all", plane="axial")[:: SHAPE[2] - 1]
    assert last.mean() > first.mean()  # from foot to head


def test_frames_are_chosen_and_counted() -> None:
    content = volume(marked())
    for frames, plane, count in (("first", "axial", 1), ("all", "coronal", 30), ("middle", "sagittal", 1)):
        read = read_images(content, "a.nii", Selection(frames, None, plane), SALT)  # type: ignore[arg-type]
        assert len(read.images) == count
        assert read.unused == {"axial": 40, "coronal": 30, "sagittal": 20}[plane] - count
    (sheet,) = read_images(content, "a.nii", Selection("montage"), SALT).images
    assert sheet.size == (5 * 20, 4 * 30)
    series = volume(np.stack([marked(), marked() * 2], axis=-1))
    assert np.array_equal(shown(series)[0], shown(content)[0])
    assert read_images(series, "a.nii", Selection("all"), SALT).unused == 40


def test_brightness_is_by_percentiles_of_the_volume_or_by_the_named_window() -> None:
    values = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.float32)
    values[0, 0, 0], values[1, 1, 1] = 1e6, np.nan
    (plain,) = shown(volume(values))
    low, high = np.nanpercentile(values, (1, 99))
    expected = np.clip((values[::-1, ::-1, 20].T - low) / (high - low), 0, 1) * 255
    assert np.abs(plain - expected).max() <= 1
    hounsfield = np.linspace(-1500, 1500, np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    (lung,) = shown(volume(hounsfield), window="lung", plane="sagittal")
    assert len({shown(volume(hounsfield), window=name)[0].tobytes() for name in (None, "lung", "bone")}) == 3
    sagittal = hounsfield[10, ::-1, ::-1].T
    assert np.abs(lung - np.clip((sagittal + 1350) / 1500, 0, 1) * 255).max() <= 1


def test_scale_factors_labels_and_constant_volumes_are_read() -> None:
    scaled = nibabel.Nifti1Image(marked(), np.eye(4))
    scaled.header.set_slope_inter(2, -1024)
    assert np.array_equal(shown(scaled.to_bytes())[0], shown(volume(marked()))[0])
    label = np.zeros(SHAPE, np.uint8)
    label[10, 15, 18:22] = 3  # under 1 % of the voxels
    assert shown(volume(label))[0].max() == 255
    assert not shown(volume(np.full(SHAPE, 9, np.int16)))[0].any()
    assert shown(volume(marked(), kind=nibabel.Nifti2Image))[0].any()
    assert shown(volume(marked()[:, :, 0]))[0].shape == (30, 20)


def test_thick_slices_are_shown_with_square_pixels() -> None:
    assert shown(volume(marked(), np.diag([1, 1, 5, 1])), plane="coronal")[0].shape == (200, 20)
    assert shown(volume(marked(), np.diag([1, 1, 5, 1])))[0].shape == (30, 20)


def test_volumes_are_prepared_without_their_texts_and_blank_slices_are_found(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.pad(marked(), ((0, 0), (0, 0), (3, 3))), np.eye(4))
    image.header["descrip"] = b"Mueller^Anna 19500101"
    nibabel.save(image, tmp_path / "brain.nii.gz")
    table = jsonl(tmp_path / "t.jsonl", row(1, "brain.nii.gz"))
    counts = build(table, tmp_path / "out")
    assert (counts.images.blank, counts.images.partly_used, counts.images.unused_frames) == (1, 1, 45)
    settings = ImageStoreSettings(POLICY, "montage", salt=SALT, plane="sagittal")
    assert build(table, tmp_path / "out", settings).images.blank == 0
    assert len(samples(tmp_path / "out")[0]["images"]) == 1
    assert json.loads((tmp_path / "out/card.json").read_text())["plane"] == "sagittal"
    assert not any(b"Mueller" in content or b"19500101" in content for content in everything(tmp_path / "out"))
    assert lines(tmp_path / "out/images.jsonl")[0]["unused"] == 4
    assert len({ImageStoreSettings(POLICY, plane=plane).digest for plane in ("axial", "coronal", "sagittal")}) == 3


def test_a_question_may_name_a_volume(tmp_path: Path) -> None:
    path = tmp_path / "brain.nii.gz"
    path.write_bytes(gzip.compress(volume(marked())))
    image: Image.Image = open_images([str(path)], POLICY)(str(path))
    assert np.array_equal(np.asarray(image), shown(path.read_bytes())[0])
    with pytest.raises(DataError, match=r"a NIfTI volume: lowmed data prepare"):
        open_in(tmp_path, "brain.nii.gz")


def test_without_nibabel_a_volume_is_rejected_with_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brain.nii").write_bytes(volume(marked()))
    Image.linear_gradient("L").save(tmp_path / "good.png")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    build(jsonl(tmp_path / "t.jsonl", row(1, "brain.nii"), row(2, "good.png")), tmp_path / "out", max_rejected=0.5)
    ((_, _, reason),) = rejected(tmp_path / "out")
    assert "pip install 'lowmed[nifti]'" in reason


def header(*dimensions: int, **fields: Any) -> bytes:
    """A header whose values are missing."""
    content = bytearray(volume(np.zeros((8, 8, 8), np.int16))[:352])
    struct.pack_into("<8h", content, 40, len(dimensions), *(*dimensions, *[1] * 7)[:7])
    for place, (form, value) in fields.items():
        struct.pack_into(form, content, int(place.removeprefix("at")), value)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(32767, 32767, 32767), "GiB, more than 1"),
        (gzip.compress(header(32767, 32767, 32767)), "GiB, more than 1"),
        (header(8, 8, 8), "cut off"),
        (gzip.compress(volume(marked()))[:-100], "damaged"),
        (gzip.compress(volume(marked())[:5000]), "cut off"),
        (header(-5, 8, 8) + bytes(9999), "NIfTI volume"),
        (header(0, 8, 8) + bytes(9999), "NIfTI volume"),
        (header(8, 8, 8, at70=("<h", 128)) + bytes(9999), "colours or complex"),
        (header(8, 8, 8, at70=("<h", 32)) + bytes(9999), "colours or complex"),
        (header(8, 8, 8, at70=("<h", 999)) + bytes(9999), "damaged"),
        (header(8, 8, 8, at108=("<f", float("nan"))) + bytes(9999), "NIfTI volume|damaged"),
        (header(8, 8, 8, at108=("<f", 1e30)) + bytes(9999), "NIfTI volume"),
        (header(8, 8, 8, at344=("<4s", b"ni1\0")) + bytes(9999), "another file"),
        (header(4, 4, 4) + bytes(9999), "4 x 4 pixels"),
        (volume(np.full((9, 9, 9), np.nan, np.float32)), "finite"),
        (header(8, 8, 8, at254=("<h", 1), at280=("<f", float("nan"))) + bytes(9999), "NIfTI volume"),
    ],
    ids=range(16),  # the bytes of gzip hold the time
)
def test_damaged_and_hostile_headers_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        shown(content)
    assert caught.value.where == "scan.nii.gz"


def test_any_damage_to_a_header_is_a_data_error_or_an_image() -> None:
    randomness, content, outcomes = np.random.default_rng(0), volume(marked()), set()
    for _ in range(300):
        damaged = bytearray(content)
        for place in randomness.integers(4, 340, 4):
            damaged[place] ^= 1 << int(randomness.integers(8))
        try:
            shown(bytes(damaged))
            outcomes.add("image")
        except DataError:
            outcomes.add("refused")
    assert outcomes == {"image", "refused"}
