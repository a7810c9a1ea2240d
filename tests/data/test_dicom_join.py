"""Folders of DICOM studies joined with a table: keys, choice of images, counts, and no identifier in any output."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.made import FIXTURES, SALT, SETTINGS, build, everything, lines, rejected, samples
from PIL import Image
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.data.image.dicom import pseudonym
from lowmed.data.image.files import Frames
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.dicom_join import IDENTIFIER, JoinOptions, joined_rows
from lowmed.data.ingest.dicom_series import SeriesChoice, modality_codes
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.errors import DataError, RecipeError

pydicom = pytest.importorskip("pydicom")
CT, MR, DX, SC, SR = (
    f"1.2.840.10008.5.1.4.1.1.{ending}" for ending in ("2", "4", "1.1", "7", "88.11")
)  # storage classes
SIDE = 32


def pixels(level: int) -> np.ndarray[Any, Any]:
    """A slice that its brightness identifies after storage: a bright frame around a field of the level."""
    values = np.full((SIDE, SIDE), level, np.uint8)
    values[:4] = 255
    values[-4:] = 0
    return values


def write(path: Path, level: int | None = 0, sop_class: str = CT, **tags: Any) -> Path:
    """A DICOM file with 8-bit pixels, or without any if `level` is None."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID(sop_class), ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID(tags.get("SOPInstanceUID") or generate_uid())
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.SpecificCharacterSet = "ISO_IR 192"
    if level is not None:
        data.PhotometricInterpretation, data.SamplesPerPixel, data.PixelRepresentation = "MONOCHROME2", 1, 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.Rows, data.Columns, data.PixelData = SIDE, SIDE, pixels(level).tobytes()
        data.WindowCenter, data.WindowWidth, data.VOILUTFunction = 127.5, 255, "LINEAR_EXACT"
    for name, value in tags.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path)
    return path


def study(accession: str, patient: str, uid: str = "", **tags: Any) -> dict[str, Any]:
    uid = uid or f"1.2.{sum(accession.encode()) + 1000 * len(accession)}"
    return {"AccessionNumber": accession, "PatientID": patient, "StudyInstanceUID": uid, "Modality": "CT",
            "SeriesInstanceUID": f"{uid}.1", "SeriesNumber": 1, **tags}  # fmt: skip


def volume(folder: Path, count: int, first: int = 10, **tags: Any) -> None:
    """Slices whose brightness rises with the position, in files and instance numbers of another order."""
    for number in range(count):
        slot = (number * 3) % count if count % 3 else number
        write(
            folder / f"IM{count - slot:04d}",
            first + 10 * number,
            ImagePositionPatient=[0, 0, 5.0 * number],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            InstanceNumber=count - number,
            **tags,
        )


def table(path: Path, *rows: Mapping[str, Any]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def ask(number: int = 1, **columns: Any) -> dict[str, Any]:
    return {**columns, "question": f"Is there a nodule, {number}?", "answer": "yes" if number % 2 else "no"}


def join(
    folder: Path, file: Path, frames: Frames | None = None, options: ImportOptions | None = None, **choice: Any
) -> RowStream:
    on = choice.pop("on", None)
    return joined_rows(
        folder, JoinOptions(file, on, SeriesChoice(frames=frames, **choice)), options or ImportOptions(), SALT
    )


def levels(out: Path, sample: Mapping[str, Any]) -> list[int]:
    """The brightness of the field in each stored image of a sample."""
    images = [Image.open(out / reference).convert("L") for reference in sample["images"]]
    return [int(image.getpixel((image.width // 2, image.height // 2))) for image in images]  # type: ignore[arg-type]


def prepared(rows: RowStream, out: Path, frames: Frames = "middle", **options: Any) -> list[dict[str, Any]]:
    build(rows, out, ImageStoreSettings(PixelPolicy(64), frames, salt=SALT), **options)
    return samples(out)


def test_rows_get_the_images_of_the_study_with_their_accession_number(tmp_path: Path) -> None:
    write(tmp_path / "in/a/deep/er/IM1", 50, **study("ACC100", "P1"))
    write(tmp_path / "in/b.dcm", 150, **study("ACC200", "P2"))
    file = table(tmp_path / "t.csv", ask(1, accession_number="ACC200"), ask(2, accession_number="ACC100"),
                 ask(3, accession_number="ACC200"))  # fmt: skip
    rows = join(tmp_path / "in", file)
    result = prepared(rows, tmp_path / "out")
    assert [levels(tmp_path / "out", sample) for sample in result] == [[150], [50], [150]]
    assert [sample["group"] for sample in result] == [pseudonym(patient, SALT) for patient in ("P2", "P1", "P2")]
    assert [sample["modality"] for sample in result] == ["CT"] * 3
    assert "accession_number? = AccessionNumber: 3 of 3 rows name 2 of 2 studies" in rows.description


@pytest.mark.parametrize(
    ("column", "value"),
    [("AccessionNumber", "ACC100"), ("Accession No", "ACC100"), ("PatientID", "P-0001"), ("mrn", "P-0001"),
     ("StudyInstanceUID", "1.2.3"), ("study_uid", "1.2.3"), ("SeriesInstanceUID", "1.2.3.1"),
     ("sop_uid", "1.2.3.1.9"), ("study_id", "ACC100"), ("exam", "1.2.3")],
)  # fmt: skip
def test_common_columns_are_recognized_by_name_and_content(column: str, value: str, tmp_path: Path) -> None:
    write(tmp_path / "in/x", 50, SOPInstanceUID="1.2.3.1.9", **study("ACC100", "P-0001", "1.2.3"))
    write(tmp_path / "in/y", 90, SOPInstanceUID="1.2.4.1.9", **study("ACC200", "P-0002", "1.2.4"))
    result = prepared(
        join(tmp_path / "in", table(tmp_path / "t.csv", ask(1, **dict[str, Any]({column: value})))), tmp_path / "out"
    )
    assert levels(tmp_path / "out", result[0]) == [50]
    assert value.encode() not in b"".join(everything(tmp_path / "out"))


def test_the_most_specific_of_several_keys_is_used(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / f"in/{number}", 40 * number, **study(f"ACC{number}", "PAT7"))
    file = table(tmp_path / "t.csv", ask(1, patient_id="PAT7", accession="ACC2"))
    assert levels(tmp_path / "out", prepared(join(tmp_path / "in", file), tmp_path / "out")[0]) == [80]


def test_a_row_that_names_another_patient_than_its_study_is_rejected(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / f"in/{number}", 40 * number, **study(f"ACC{number}", f"PAT{number}"))
    rows = [ask(1, patient_id="PAT1", accession="ACC1"), ask(2, patient_id="PAT1", accession="ACC2"),
            ask(3, patient_id="unknown here", accession="ACC2")]  # fmt: skip
    prepared(join(tmp_path / "in", table(tmp_path / "t.csv", *rows)), tmp_path / "out", max_rejected=1.0)
    assert rejected(tmp_path / "out") == [("t.csv", 3, "the row names another patient than its study")]


def test_a_stripped_leading_zero_is_noticed_and_stated(tmp_path: Path) -> None:
    write(tmp_path / "in/1", 50, **study("00123", "P1"))
    write(tmp_path / "in/2", 90, **study("A-7", "P2"))
    file = table(tmp_path / "t.csv", ask(1, accession="123"), ask(2, accession="123.0"), ask(3, accession=" a-7"))
    rows = join(tmp_path / "in", file)
    assert "1 rows match only apart from other case or blanks" in rows.description
    prepared(rows, tmp_path / "out", max_rejected=1.0)
    reasons = {line: reason for _, line, reason in rejected(tmp_path / "out")}
    assert reasons == dict.fromkeys(
        (2, 3), "rows with different keys match one identifier, apart from missing leading zeros, or a number with "
        "decimals"
    )  # fmt: skip
    rows = join(tmp_path / "in", table(tmp_path / "t.csv", ask(1, accession="123"), ask(3, accession="A-7")))
    assert "1 rows match only apart from missing leading zeros" in rows.description
    assert len(prepared(rows, tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("in_files", "in_table", "accepted"),
    [
        (["00123", "0123"], ["123"], []),  # either may be meant
        (["00123", "123"], ["123"], []),  # 123 may have been 00123
        (["00123", "123"], ["123", "00123"], ["123", "00123"]),  # this table keeps its zeros
        (["00123"], ["00123", "123"], ["00123"]),  # 123 is somebody else, or not
        (["00123", "456"], ["123", "456"], ["123", "456"]),
        (["202011230001"], ["2.0201123E+11"], []),
    ],
)
def test_ambiguous_keys_are_never_guessed(
    in_files: list[str], in_table: list[str], accepted: list[str], tmp_path: Path
) -> None:
    for number, key in enumerate(in_files):
        write(tmp_path / f"in/{number}", 20 * number, **study(key, f"P{number}"))
    write(tmp_path / "in/other", 200, **study("X-1", "P9"))
    rows = [ask(number, accession=key) for number, key in enumerate(in_table)]
    file = table(tmp_path / "t.csv", *rows, ask(9, accession="X-1"))
    result = prepared(join(tmp_path / "in", file), tmp_path / "out", max_rejected=1.0)
    kept = {sample["question"] for sample in result}
    assert kept == {ask(in_table.index(key))["question"] for key in accepted} | {ask(9)["question"]}


def test_several_studies_of_a_patient_are_ambiguous_unless_the_choice_makes_them_unique(tmp_path: Path) -> None:
    write(tmp_path / "in/ct", 50, **study("A1", "PAT7"))
    write(tmp_path / "in/mr", 90, MR, **study("A2", "PAT7", Modality="MR"))
    file = table(tmp_path / "t.csv", ask(1, patient_id="PAT7"))
    with pytest.raises(DataError, match="1 of 1 rows are rejected") as caught:
        prepared(join(tmp_path / "in", file), tmp_path / "out")
    assert "the key names several studies" in caught.value.where
    assert "PAT7" not in str(caught.value)
    result = prepared(join(tmp_path / "in", file, modalities=modality_codes("mri")), tmp_path / "out")
    assert levels(tmp_path / "out", result[0]) == [90]


def test_rows_without_a_study_and_studies_without_a_row_are_counted(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path / f"in/{number}", 40 * number, **study(f"ACC{number}", f"PAT{number}"))
    file = table(tmp_path / "t.csv", ask(1, accession="ACC1"), ask(2, accession="NONE-77"), ask(3, accession=""))
    rows = join(tmp_path / "in", file)
    prepared(rows, tmp_path / "out", max_rejected=1.0)
    assert [line for _, line, _ in rejected(tmp_path / "out")] == [3, 4]
    assert "rejected 1 rows, the folder has no study with the key of the row: lines 3" in rows.description
    assert "rejected 1 rows, the row has no key: lines 4" in rows.description
    unused = {pseudonym(study(f"ACC{number}", "")["StudyInstanceUID"], SALT) for number in (2, 3)}
    assert set(rows.description.split("no row   2 studies: ")[1].split("\n")[0].split(", ")) == unused


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (None, [40]),
        ("first", [10]),
        ("middle", [40]),
        ("all", [10, 20, 30, 40, 50, 60, 70]),
        ("spaced", [10, 30, 50, 70]),
    ],
)
def test_slices_are_chosen_in_the_order_of_their_positions(
    frames: Frames | None, expected: list[int], tmp_path: Path
) -> None:
    volume(tmp_path / "in", 7, **study("A1", "P1"))
    file = table(tmp_path / "t.csv", ask(1, accession="A1"))
    result = prepared(join(tmp_path / "in", file, frames), tmp_path / "out", frames or "middle")
    assert levels(tmp_path / "out", result[0]) == expected


def test_without_positions_the_instance_number_orders_slices(tmp_path: Path) -> None:
    for number, name in enumerate("bca"):
        write(tmp_path / f"in/{name}", 10 + 10 * number, InstanceNumber=number + 8, **study("A1", "P1"))
    file = table(tmp_path / "t.csv", ask(1, accession="A1"))
    result = prepared(join(tmp_path / "in", file, "all"), tmp_path / "out", "all")
    assert levels(tmp_path / "out", result[0]) == [10, 20, 30]


def test_a_montage_shows_evenly_spaced_slices_in_one_image(tmp_path: Path) -> None:
    volume(tmp_path / "in", 25, first=0, **study("A1", "P1"))
    file = table(tmp_path / "t.csv", ask(1, accession="A1"))
    settings = ImageStoreSettings(PixelPolicy(256), "montage", salt=SALT)
    build(join(tmp_path / "in", file, "montage"), tmp_path / "out", settings)
    ((width, height),) = lines(tmp_path / "out/images.jsonl")[0]["sizes"]
    assert (width, height) == (4 * SIDE, 4 * SIDE)
    with Image.open(tmp_path / "out" / samples(tmp_path / "out")[0]["images"][0]) as stored:
        sheet = stored.resize((4 * SIDE, 4 * SIDE))
    tile = [sheet.getpixel((SIDE * (n % 4) + SIDE // 2, SIDE * (n // 4) + SIDE // 2)) for n in range(16)]
    assert tile == sorted(tile)  # type: ignore[type-var]
    assert abs(tile[0] - 0) < 6 < 230 < tile[15]  # type: ignore[operator]


def test_the_largest_fitting_series_is_used(tmp_path: Path) -> None:
    scan = study("A1", "P1")
    series = {"thin": (5, "Thorax LUNG 1.0"), "thick": (3, "Thorax soft 5.0"), "head": (4, "Head")}
    for number, (name, (count, description)) in enumerate(series.items()):
        tags = {**scan, "SeriesInstanceUID": f"9.{number}", "SeriesNumber": number, "SeriesDescription": description}
        volume(tmp_path / f"in/{name}", count, first=10 + 80 * number, **tags)
    file = table(tmp_path / "t.csv", ask(1, accession="A1"))
    for part, level in (("", 30), ("lung", 30), ("SOFT", 100), ("head", 190)):
        result = prepared(join(tmp_path / "in", file, description=part), tmp_path / "out")
        assert levels(tmp_path / "out", result[0]) == [level]
    with pytest.raises(DataError, match="rejected") as caught:
        prepared(join(tmp_path / "in", file, description="pelvis"), tmp_path / "none")
    assert "no image of the requested series" in caught.value.where


def test_views_in_separate_series_count_as_one_series(tmp_path: Path) -> None:
    film = study("A1", "P1", Modality="DX")
    write(tmp_path / "in/lateral", 90, DX, **{**film, "SeriesInstanceUID": "9.2", "SeriesNumber": 2})
    write(tmp_path / "in/pa", 50, DX, **film)
    file = table(tmp_path / "t.csv", ask(1, accession="A1"))
    assert levels(tmp_path / "a", prepared(join(tmp_path / "in", file), tmp_path / "a")[0]) == [50]
    both = prepared(join(tmp_path / "in", file, "all"), tmp_path / "b", "all")
    assert levels(tmp_path / "b", both[0]) == [50, 90]


def test_localizers_reports_captures_and_copies_are_skipped_and_counted(tmp_path: Path) -> None:
    scan = study("A1", "P1")
    kept = write(tmp_path / "in/slice", 50, **scan)
    (tmp_path / "in/copy").write_bytes(kept.read_bytes())
    (tmp_path / "in/notes.txt").write_text("no DICOM")
    (tmp_path / "in/broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"broken" * 20)
    for number in range(3):
        write(tmp_path / f"in/loc{number}", 99, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
              **{**scan, "SeriesInstanceUID": "9.1"})  # fmt: skip
        write(tmp_path / f"in/scout{number}", 99, SeriesDescription="AP Scout", **{**scan, "SeriesInstanceUID": "9.2"})
        write(tmp_path / f"in/dose{number}", 99, SC, ImageType=["DERIVED", "SECONDARY"],
              **{**scan, "SeriesInstanceUID": "9.3"})  # fmt: skip
    write(tmp_path / "in/report", None, SR, **{**scan, "SeriesInstanceUID": "9.4", "Modality": "SR"})
    rows = join(tmp_path / "in", table(tmp_path / "t.csv", ask(1, accession="A1")))
    skipped = next(line for line in rows.description.splitlines() if line.startswith("skipped"))
    for part in ("6 localizers", "3 derived captures", "1 copies", "1 not DICOM", "1 unreadable", "1 without an image"):
        assert part in skipped
    assert levels(tmp_path / "out", prepared(rows, tmp_path / "out")[0]) == [50]


def test_a_study_of_captured_radiographs_alone_is_used(tmp_path: Path) -> None:
    write(tmp_path / "in/x", 50, SC, ConversionType="WSD", **study("A1", "P1", Modality="CR"))
    result = prepared(join(tmp_path / "in", table(tmp_path / "t.csv", ask(1, accession="A1"))), tmp_path / "out")
    assert levels(tmp_path / "out", result[0]) == [50]


def test_an_unclear_table_names_the_option_that_helps(tmp_path: Path) -> None:
    write(tmp_path / "in/x", 50, **study("ACC100", "P1"))
    with pytest.raises(RecipeError) as caught:
        join(tmp_path / "in", table(tmp_path / "t.csv", ask(1, Fallnummer="ACC100")))
    assert "--join-on 'Fallnummer=AccessionNumber'" in caught.value.fix
    assert "ACC100" not in str(caught.value)
    rows = join(tmp_path / "in", tmp_path / "t.csv", on="Fallnummer=accessionnumber")
    assert len(prepared(rows, tmp_path / "out")) == 1
    assert b"ACC100" not in b"".join(everything(tmp_path / "out"))
    two = table(tmp_path / "two.csv", ask(1, accession="ACC100", acc_no="ACC100"))
    with pytest.raises(RecipeError, match="`accession` and `acc_no` both match"):
        join(tmp_path / "in", two)
    for wrong in ("Fallnummer", "Fallnummer=Nothing", "no=AccessionNumber"):
        with pytest.raises(RecipeError):
            join(tmp_path / "in", tmp_path / "t.csv", on=wrong)


def test_short_numbers_in_an_unclear_column_are_no_key(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / f"in/{number}", 50, **study(f"ACC{number}", str(number)))
    with pytest.raises(RecipeError, match="no row matches"):
        join(tmp_path / "in", table(tmp_path / "t.csv", ask(1, id="1"), ask(2, id="2")))


def test_one_question_for_all_studies_suits_a_table_of_reports(tmp_path: Path) -> None:
    write(tmp_path / "in/x", 50, **study("ACC100", "P1"))
    file = table(tmp_path / "t.csv", {"accession": "ACC100", "report": "No nodule is seen."})
    options = ImportOptions({"answer": "report"}, question="What does the image show?")
    (sample,) = prepared(join(tmp_path / "in", file, options=options), tmp_path / "out")
    assert (sample["question"], sample["answer"]) == ("What does the image show?", "No nodule is seen.")


def test_the_labels_of_a_table_are_the_options_of_its_question(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"in/{number}", 40 * number, **study(f"ACC{number}", f"P{number}"))
    rows = [{"accession": f"ACC{number}", "label": ("mass", "no mass")[number % 2]} for number in range(4)]
    options = ImportOptions(question="What does the image show?")
    result = prepared(join(tmp_path / "in", table(tmp_path / "t.csv", *rows), options=options), tmp_path / "out")
    assert {(*sample["options"], sample["kind"]) for sample in result} == {("mass", "no mass", "choice")}
    assert [sample["answer"] for sample in result] == ["mass", "no mass"] * 2
    for different in (["yes", "no"] * 2, ["1", "2"] * 2, ["w0", "w1", "w2", "w3"], ["a" * 80, "mass"] * 2):
        rows = [{"accession": f"ACC{number}", "label": label} for number, label in enumerate(different)]
        plain = prepared(join(tmp_path / "in", table(tmp_path / "t.csv", *rows), options=options), tmp_path / "out")
        assert {tuple(sample["options"]) for sample in plain} == {()}
    with pytest.raises(RecipeError, match="no column holds the question") as caught:
        join(tmp_path / "in", tmp_path / "t.csv")
    assert "--question TEXT" in caught.value.fix


def test_invalid_tags_are_absent_and_do_not_lose_the_image(tmp_path: Path) -> None:
    scan = study("ACC100", "P1")
    content = write(tmp_path / "in/x", 50, InstanceNumber=1234, NumberOfFrames=1, **scan).read_bytes()
    (tmp_path / "in/x").write_bytes(content.replace(b"1234", b"12x4"))
    result = prepared(join(tmp_path / "in", table(tmp_path / "t.csv", ask(1, accession="ACC100"))), tmp_path / "out")
    assert levels(tmp_path / "out", result[0]) == [50]


def test_a_row_whose_text_names_its_patient_is_rejected(tmp_path: Path) -> None:
    tags = {"PatientName": "MUELLER^Anna^^Dr", "PatientBirthDate": "19500102", "StudyDate": "20200202"}
    write(tmp_path / "in/x", 50, **study("ACC100", "0004711", "1.2.3.4", **tags))
    texts = ["Mueller has a nodule.", "Ms ANNA M.", "born 2.1.1950", "on 2020-02-02", "no. ACC100", "case 4711",
             "uid 1.2.3.4", "anna means nothing here", "A nodule of 4711.5 units"]  # fmt: skip
    rows = [{"accession": "ACC100", "question": f"What is it, {n}?", "answer": text} for n, text in enumerate(texts)]
    result = prepared(join(tmp_path / "in", table(tmp_path / "t.csv", *rows)), tmp_path / "out", max_rejected=1.0)
    assert [sample["answer"] for sample in result] == texts[7:8]
    assert rejected(tmp_path / "out") == [("t.csv", line, IDENTIFIER) for line in (*range(2, 9), 10)]


def test_no_identifier_of_tags_or_table_is_in_any_output(tmp_path: Path) -> None:
    planted = {
        "PatientName": "Quastenflosser^Hildegard", "PatientBirthDate": "19500101", "StudyDate": "20200202",
        "InstitutionName": "Klinik Sankt Anderswo", "StudyDescription": "Thorax Quastenflosser",
        "SeriesDescription": "Lunge Quastenflosser", "ReferringPhysicianName": "Zirbelnuss^Otto",
    }  # fmt: skip
    identifiers = ["ACC-99887", "PAT-0815-X", "1.2.826.77.1", "1.2.826.77.1.1", "Fall-4242", "MRN55667", "GHOST-31337"]
    scan = study("ACC-99887", "PAT-0815-X", "1.2.826.77.1", **planted)
    volume(tmp_path / "in/Quastenflosser_Hildegard/20200202", 3, **scan)
    write(tmp_path / "in/Zirbelnuss/IM1", 200, **study("UNUSED-1", "Fall-4242", "1.2.826.88"))
    (tmp_path / "in/Zirbelnuss/broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"Quastenflosser" * 20)
    columns = {"accession": "ACC-99887", "patient_id": "PAT-0815-X", "mrn": "MRN55667", "study_uid": "1.2.826.77.1",
               "name": "Quastenflosser", "birth_date": "19500101"}  # fmt: skip
    rows = [ask(1, id="ACC-99887/1", **columns), ask(2, id="q2", **columns),
            ask(3, id="q3", **{**columns, "accession": "GHOST-31337", "study_uid": "GHOST-31337"}),
            {**ask(4, id="q4", **columns), "answer": "Quastenflosser has one"}]  # fmt: skip
    file = table(tmp_path / "t.csv", *rows)
    command = ["data", "prepare", str(tmp_path / "in"), "--join", str(file), "--map", "answer=answer",
               "--out", str(tmp_path / "out"), "--max-rejected"]  # fmt: skip
    secrets = [
        *identifiers,
        "Quastenflosser",
        "Hildegard",
        "Zirbelnuss",
        "Anderswo",
        "19500101",
        "20200202",
        "UNUSED-1",
    ]
    for options in (["0"], ["0.9", "--json"], ["0.9", "--frames", "all"], ["0.9", "--frames", "montage"],
                    ["0.9", "--series", "Lunge"], ["0.9", "--text-only"], ["0.9", "--mask-text"]):  # fmt: skip
        result = CliRunner().invoke(app, command + options)
        assert isinstance(result.exception, DataError) == (options == ["0"]), result.output
        audit = CliRunner().invoke(app, ["data", "audit", str(tmp_path / "out")]) if options != ["0"] else result
        shown = f"{result.output} {result.stderr} {result.exception} {audit.output} {audit.exception}"
        written = [path.name.encode() + path.read_bytes() for path in tmp_path.rglob("*")
                   if path.is_file() and not path.is_relative_to(tmp_path / "in") and path != file]  # fmt: skip
        content = b"\n".join(written) + shown.encode()
        assert len(written) >= (1 if options == ["0"] else 6)
        # The path of the output contains none of them, so that any hit is a leak.
        assert [secret for secret in secrets if secret.casefold().encode() in content.lower()] == []
        if options != ["0"]:
            assert [sample["question"] for sample in samples(tmp_path / "out")] == [ask(n)["question"] for n in (1, 2)]
            assert json.loads((tmp_path / "out/card.json").read_text())["frames"] in ("middle", options[-1])
            assert samples(tmp_path / "out")[1]["id"] == "q2"


def test_damaged_and_odd_tables_are_errors_or_rejected_rows(tmp_path: Path) -> None:
    write(tmp_path / "in/x", 50, **study("ACC100", "P1"))
    file = tmp_path / "t.jsonl"
    good = {"question": "Is it?", "answer": "yes", "accession": "ACC100"}
    file.write_text("\n".join([json.dumps(good), "{broken", json.dumps({**good, "accession": ["ACC100"], "id": "2"}),
                               json.dumps({"question": "no key", "answer": "no"})]))  # fmt: skip
    prepared(join(tmp_path / "in", file), tmp_path / "out", max_rejected=1.0)
    reasons = [reason for _, _, reason in rejected(tmp_path / "out")]
    assert reasons == ["the line is not JSON", "the row has no key", "the row has no key"]
    (tmp_path / "empty").mkdir()
    for folder, match in ((tmp_path / "empty", "no DICOM image"), (file, "needs a folder")):
        with pytest.raises(DataError, match=match):
            join(folder, file)
    with pytest.raises(DataError, match="does not exist"):
        join(tmp_path / "in", tmp_path / "missing.csv")
    with pytest.raises(RecipeError, match="takes the images from the studies"):
        join(tmp_path / "in", file, options=ImportOptions({"image": "accession"}))


def test_options_of_a_join_need_a_join(tmp_path: Path) -> None:
    command = ["data", "prepare", str(tmp_path), "--out", str(tmp_path / "out"), "--join", "t.csv", "--path", "x"]
    assert isinstance(CliRunner().invoke(app, command).exception, RecipeError)
    for option in (["--modality", "CT"], ["--series", "x"], ["--join-on", "a=b"]):
        result = CliRunner().invoke(app, ["data", "prepare", str(tmp_path), "--out", str(tmp_path / "out"), *option])
        assert isinstance(result.exception, RecipeError)
        assert "--join TABLE" in result.exception.fix
    with pytest.raises(RecipeError, match="not a modality"):
        modality_codes("CAT")
    assert modality_codes("x-ray") == {"CR", "DX", "RG"}


def test_real_files_are_joined_by_their_tags(tmp_path: Path) -> None:
    folder = FIXTURES / "dicom"
    file = table(tmp_path / "t.csv", {"patient_id": "nothing", "question": "Is it?", "answer": "no"},
                 {"patient_id": "4MR1", "question": "Is it?", "answer": "yes"})  # fmt: skip
    rows = join(folder, file)
    build(rows, tmp_path / "out", SETTINGS, max_rejected=1.0)
    assert [sample["modality"] for sample in samples(tmp_path / "out")] == ["MRI"]
