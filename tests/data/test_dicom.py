"""DICOM: every real file is converted or rejected with a reason, and no tag of a patient is kept."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.made import FIXTURES, SALT, SETTINGS, SHARED, build, everything, jsonl, make_image, rejected, row, samples

from lowmed.data.image import dicom
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.errors import DataError

pydicom = pytest.importorskip("pydicom")
REAL = SHARED / "data" / "dicom"


@pytest.fixture
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip("the real DICOM files are not at ../shared/data/dicom")
    return REAL


@pytest.fixture
def part() -> Path:
    return FIXTURES / "dicom"


def film(values: np.ndarray[Any, Any], **tags: Any) -> bytes:
    """A DICOM file of 16-bit values, with whatever tags."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PhotometricInterpretation = "CT", "MONOCHROME2"
    data.SamplesPerPixel, data.PixelRepresentation = 1, 1
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    frames = values if values.ndim == 3 else values[None]
    data.Rows, data.Columns = frames.shape[1:]
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    data.PixelData = values.astype("<i2").tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    written = BytesIO()
    data.save_as(written)
    return written.getvalue()


def shown(content: bytes, *, frames: Any = "first", window: str | None = None) -> list[np.ndarray[Any, Any]]:
    read = dicom.read(content, "film.dcm", frames=frames, window=window, salt=SALT)
    return [np.asarray(image) for image in read.images]


RAMP = np.arange(-1024, -1024 + 64 * 64).reshape(64, 64)


def test_every_real_file_is_converted_or_rejected_with_its_fault(real: Path, tmp_path: Path) -> None:
    files = sorted(real.glob("*.dcm"))
    table = jsonl(tmp_path / "t.jsonl", *(row(number, file.name) for number, file in enumerate(files)))
    build(table, tmp_path / "out", import_options=ImportOptions(images=real), max_rejected=1.0)
    named = {files[(line or 0) - 1].name: reason for _, line, reason in rejected(tmp_path / "out")}
    assert len(samples(tmp_path / "out")) + len(named) == len(files) == 80
    assert len(samples(tmp_path / "out")) == 58
    assert named["reportsi.dcm"] == "the DICOM file contains no pixels"
    assert named["badVR.dcm"].startswith("the DICOM file is damaged")
    assert "Deflate" in named["liver_deflate.dcm"] or "1.2.840.10008.1.2.8.1" in named["liver_deflate.dcm"]
    assert "3 x 3 pixels" in named["SC_rgb_small_odd_big_endian.dcm"]
    assert all(reason.strip() for reason in named.values())


def test_the_files_of_the_part_are_converted_or_rejected_with_their_fault(part: Path, tmp_path: Path) -> None:
    files = sorted(part.glob("*.dcm"))
    table = jsonl(tmp_path / "t.jsonl", *(row(number, file.name) for number, file in enumerate(files)))
    build(table, tmp_path / "out", import_options=ImportOptions(images=part), max_rejected=1.0)
    named = {files[(line or 0) - 1].name: reason for _, line, reason in rejected(tmp_path / "out")}
    assert len(samples(tmp_path / "out")) + len(named) == len(files) == 32
    assert named["reportsi.dcm"] == "the DICOM file contains no pixels"
    assert named["badVR.dcm"].startswith("the DICOM file is damaged")
    assert "MR_small_RLE.dcm" not in named


@pytest.mark.parametrize(
    ("folder", "modalities", "tags"),
    [
        (REAL, {"CT", "MRI", "X-ray", "ultrasound", "scintigraphy"}, 30),
        (FIXTURES / "dicom", {"CT", "MRI", "ultrasound", "scintigraphy"}, 10),
    ],
    ids=["complete", "part"],
)
def test_dicom_files_become_modality_questions_without_their_tags(
    folder: Path, modalities: set[str], tags: int, tmp_path: Path
) -> None:
    if not folder.is_dir():
        pytest.skip("the real DICOM files are not at ../shared/data/dicom")
    build(folder, tmp_path / "out", max_rejected=1.0)
    result = samples(tmp_path / "out")
    assert {sample["answer"] for sample in result} == modalities
    assert {sample["topic"] for sample in result} <= {"", "right, AP"}
    values: set[bytes] = set()
    for file in folder.glob("*.dcm"):
        data = pydicom.dcmread(file, force=True)
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "StudyDate",
            "AccessionNumber",
            "InstitutionName",
        ):
            try:
                value = str(data.get(keyword) or "")
            except (ValueError, TypeError):
                continue
            values |= {value.encode()} if len(value) > 4 else set()
    assert len(values) > tags
    written = b"\n".join(
        path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "rejected.jsonl"
    )
    assert [value for value in values if value in written] == []


def test_a_missing_plug_in_is_named(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import JPEGLSLosslessDecoder

    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    monkeypatch.setattr(JPEGLSLosslessDecoder, "_unavailable", {"pyjpegls": ("pyjpegls>=1.2",)})
    with pytest.raises(DataError, match=r"needs a codec plug-in for JPEG-LS Lossless.*pyjpegls") as caught:
        shown((real / "JLSL_08_07_0_1F.dcm").read_bytes())
    assert "lowmed[dicom]" in caught.value.fix


def test_without_pydicom_a_dicom_file_is_rejected_with_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "film.dcm").write_bytes(film(RAMP))
    make_image(1).save(tmp_path / "plain.png")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    table = jsonl(tmp_path / "t.jsonl", row(1, "film.dcm"), row(2, "plain.png"))
    build(table, tmp_path / "out", max_rejected=0.5)
    ((_, line, reason),) = rejected(tmp_path / "out")
    assert line == 1
    assert "lowmed[dicom]" in reason


def test_rescale_and_the_named_window_follow_the_standard() -> None:
    stored = (RAMP + 1000) // 2  # slope 2, intercept -1000
    (lung,) = shown(film(stored, RescaleSlope=2, RescaleIntercept=-1000), window="lung")
    hounsfield = stored * 2.0 - 1000
    expected = np.clip((hounsfield - (-600.5)) / 1499 + 0.5, 0, 1)
    assert np.array_equal(lung, (expected * 255).round().astype(np.uint8))
    assert lung.max() == 255


def test_the_files_first_window_is_the_default() -> None:
    (one,) = shown(film(RAMP, WindowCenter=40, WindowWidth=400))
    (first,) = shown(film(RAMP, WindowCenter=[40, 300], WindowWidth=[400, 1500]))
    assert np.array_equal(one, first)
    assert np.array_equal(one, shown(film(RAMP), window="soft")[0])
    assert one[RAMP < -160].max() == 0
    assert one[RAMP > 240].min() == 255


def test_a_ct_window_is_not_applied_to_other_modalities() -> None:
    assert np.array_equal(shown(film(RAMP, Modality="MR"), window="lung")[0], shown(film(RAMP, Modality="MR"))[0])


def test_without_a_window_the_full_range_is_shown() -> None:
    (pixels,) = shown(film(RAMP))
    assert (pixels[0, 0], pixels[-1, -1]) == (0, 255)
    assert not shown(film(np.full((16, 16), 77)))[0].any()


def test_colour_of_more_than_8_bits_is_scaled_from_its_darkest_to_its_brightest_value() -> None:
    values = np.random.default_rng(0).integers(300, 3841, (32, 32, 3)).astype("<u2")
    data = pydicom.dcmread(BytesIO(film(values[..., 0])))
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.PixelRepresentation, data.PixelData = 0, values.tobytes()
    written = BytesIO()
    data.save_as(written)
    (pixels,) = shown(written.getvalue())
    exact = ((values - 300.0) * (255 / 3540)).round()
    assert (values.min(), values.max()) == (300, 3840)
    assert np.array_equal(pixels, exact)


def test_monochrome1_is_inverted() -> None:
    (turned,) = shown(film(RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(turned, 255 - shown(film(RAMP))[0].astype(int))


@pytest.mark.parametrize(
    ("frames", "expected"), [("first", [0]), ("middle", [2]), ("all", [0, 1, 2, 3]), ("spaced", [0, 1, 2, 3])]
)
def test_frames_are_chosen(frames: str, expected: list[int]) -> None:
    volume = np.stack([np.roll(RAMP, 512 * number, axis=0) for number in range(4)])
    seen = shown(film(volume), frames=frames)
    assert len(seen) == len(expected)
    for frame, number in zip(seen, expected, strict=True):
        assert np.array_equal(frame, shown(film(volume[number]))[0])


def test_too_many_frames_are_refused() -> None:
    with pytest.raises(DataError, match=r"300 frames; at most 256.*--frames middle, spaced or montage"):
        shown(film(np.zeros((300, 16, 16), np.int16)), frames="all")


def test_side_and_view_come_from_closed_lists_and_the_patient_is_a_pseudonym() -> None:
    tags = {"PatientID": "4711", "PatientName": "Mueller^Anna", "ImageLaterality": "L"}
    read = [
        dicom.read(film(RAMP, ViewPosition=view, **tags), "x", frames="first", window=None, salt=salt)
        for view, salt in (("MLO", SALT), ("MUELLER ANNA", SALT), ("MLO", b"another"))
    ]
    assert [each.view for each in read] == ["left, MLO", "left", "left, MLO"]
    assert read[0].patient == read[1].patient != read[2].patient
    assert "4711" not in read[0].patient


def test_no_planted_dicom_value_survives(tmp_path: Path) -> None:
    planted = {
        "PatientName": "Mueller^Anna", "PatientID": "ID4711-X", "PatientBirthDate": "19500101", "StudyDate": "20200202",
        "InstitutionName": "St Elsewhere", "AccessionNumber": "ACC-998877", "StudyDescription": "Thorax Mueller",
    }  # fmt: skip
    (tmp_path / "in").mkdir()
    (tmp_path / "in/film.dcm").write_bytes(film(RAMP, **planted))
    build(tmp_path / "in", tmp_path / "out")
    written = b"\n".join(everything(tmp_path / "out"))
    assert [value for value in planted.values() if value.encode() in written] == []
    assert samples(tmp_path / "out")[0]["answer"] == "CT"


def test_other_images_among_dicom_files_are_rejected_by_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/film.dcm").write_bytes(film(RAMP))
    (tmp_path / "in/readme.txt").write_text("hello")
    make_image(1).save(tmp_path / "in/photo.png")
    build(tmp_path / "in", tmp_path / "out", max_rejected=0.5)
    assert rejected(tmp_path / "out") == [("photo.png", None, "the image has no DICOM tags that name its modality")]


def test_any_damage_is_a_data_error_or_an_image(part: Path) -> None:
    randomness = np.random.default_rng(0)
    outcomes = set()
    for name in ("MR_small_RLE.dcm", "JPGExtended.dcm", "MR_small_padded.dcm"):
        content = (part / name).read_bytes()
        for _ in range(25):
            damaged = bytearray(content[: int(randomness.integers(len(content) // 2, len(content)))])
            for place in randomness.integers(132, len(damaged), 8):
                damaged[place] ^= 1 << int(randomness.integers(8))
            try:
                shown(bytes(damaged))
                outcomes.add("image")
            except DataError as error:
                assert error.where == "film.dcm"
                outcomes.add("refused")
    assert outcomes == {"image", "refused"}


def test_another_window_has_another_settings_digest() -> None:
    assert len({ImageStoreSettings(SETTINGS.policy, window=window).digest for window in (None, "lung", "bone")}) == 3
