"""A prepared folder, its pages and all other outputs hold none of hundreds of planted identifiers."""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from data.made import FIXTURES, lines, make_image
from data.test_dicom_join import study, write
from PIL import Image, PngImagePlugin

from lowmed.data.ingest import source_names

Run = Callable[..., str]


class Plants:
    """Makes identifiers that no other text has, and searches for them."""

    def __init__(self) -> None:
        """Start with none."""
        self.numbers, self.made = count(1), list[str]()

    def new(self, kind: str) -> str:
        """Another identifier, such as `Zqname0017`; DICOM tags have its capitals too."""
        self.made.append(f"Zq{kind}{next(self.numbers):04d}")
        return self.made[-1]

    def leaks(self, contents: dict[str, bytes]) -> set[tuple[str, str]]:
        """The planted identifiers in these files or texts, with the name of the file or text."""
        return {
            (where, plant)
            for where, content in contents.items()
            for plant in self.made
            for folded in [content.lower()]
            if plant.lower().encode() in folded or plant.lower().encode("utf-16-le") in folded
        }


def image(plants: Plants, path: Path, seed: int) -> None:
    """A PNG or JPEG with an identifier in every field of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = plants.new("exif"), plants.new("exif")
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{plants.new('xmp')}</x:xmpmeta>".encode()
    if path.suffix == ".jpg":
        make_image(seed).save(path, "JPEG", exif=exif, xmp=xmp, comment=plants.new("comment").encode())
        return
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Patient", plants.new("text"))
    texts.add_itxt("XML:com.adobe.xmp", plants.new("xmp"), zip=True)
    make_image(seed).save(path, "PNG", pnginfo=texts, exif=exif)
    path.write_bytes(path.read_bytes() + plants.new("tail").encode())


def table(plants: Plants, folder: Path, images: int = 24) -> list[dict[str, Any]]:
    """Rows with images in folders of patients, identifiers in unused columns, and rows that are rejected."""
    rows = []
    for number in range(images):
        patient = plants.new("patient")
        name = f"{patient}/{plants.new('file')}{('.png', '.jpg')[number % 2]}"
        image(plants, folder / name, number)
        rows += [
            {
                "id": f"{patient}-{turn}",
                "image": name,
                "question": f"Is there a mass, {number} {turn}?",
                "answer": "yes" if (number + turn) % 2 else "no",
                "patient_id": patient,
                "Name": plants.new("cell"),
                "Birth": plants.new("cell"),
                "split": "test" if number % 4 == 0 else "train",
            }
            for turn in range(2)
        ]
    bad = {"image": f"{plants.new('folder')}/{plants.new('gone')}.png", "question": "Is there a mass?", "answer": "no"}
    elsewhere = {**bad, "image": f"/home/{plants.new('home')}/{plants.new('gone')}.png"}
    empty = {**rows[0], "id": plants.new("id"), "answer": ""}
    damaged = {**bad, "image": f"{plants.new('folder')}/{plants.new('broken')}.png"}
    (folder / damaged["image"]).parent.mkdir()
    (folder / damaged["image"]).write_bytes(plants.new("content").encode() * 9)
    return [*rows, bad, elsewhere, empty, damaged]


def as_csv(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def as_xlsx(plants: Plants, file: Path, rows: list[dict[str, Any]]) -> Path:
    """A workbook with identifiers in its properties, its comments and a second sheet."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for name in ("creator", "title", "description", "keywords", "lastModifiedBy", "subject", "category"):
        setattr(book.properties, name, plants.new("property"))
    names = list(rows[0])
    for row in [names, *([row.get(name) for name in names] for row in rows)]:
        book.active.append(row)
    book.active["A1"].comment = openpyxl.comments.Comment(plants.new("note"), plants.new("author"))
    file.parent.mkdir(parents=True, exist_ok=True)
    book.save(file)
    return file


def own_table(plants: Plants, place: Path) -> list[str]:
    rows = table(plants, place)
    return [str(as_csv(place / f"{plants.new('table')}.csv", rows))]


def own_workbook(plants: Plants, place: Path) -> list[str]:
    rows = table(plants, place, 12)
    return [str(as_xlsx(plants, place / f"{plants.new('book')}.xlsx", rows))]


def texts_only(plants: Plants, place: Path) -> list[str]:
    return [*own_table(plants, place), "--text-only"]


def zip_archive(plants: Plants, place: Path) -> list[str]:
    rows = table(plants, place / "unpacked", 12)
    as_csv(place / "unpacked" / f"{plants.new('table')}.csv", rows)
    archive = place / f"{plants.new('zip')}.zip"
    top = plants.new("top")
    with zipfile.ZipFile(archive, "w") as file:
        file.comment = plants.new("comment").encode()
        for path in sorted((place / "unpacked").rglob("*")):
            if path.is_file():
                file.write(path, f"{top}/{path.relative_to(place / 'unpacked')}")
    return [str(archive)]


def class_folders(plants: Plants, place: Path) -> list[str]:
    folder = place / plants.new("classes")
    for number in range(12):
        image(plants, folder / ("normal", "mass")[number % 2] / f"{plants.new('file')}.png", number)
    broken = folder / "mass" / f"{plants.new('broken')}.png"
    broken.write_bytes(plants.new("content").encode())
    return [str(folder), "--question", "What is shown?"]


def dicom_files(plants: Plants, place: Path) -> list[str]:
    pytest.importorskip("pydicom")
    folder = place / plants.new("dicom")
    for number in range(6):
        modality, sop_class = (("CT", "1.2.840.10008.5.1.4.1.1.2"), ("MR", "1.2.840.10008.5.1.4.1.1.4"))[number % 2]
        path = folder / plants.new("patient") / f"{plants.new('file')}.dcm"
        write(path, 20 * number, sop_class, **tags(plants), Modality=modality, SeriesInstanceUID=f"1.2.{number}")
    (folder / f"{plants.new('broken')}.dcm").write_bytes(b"\0" * 128 + b"DICM" + plants.new("content").encode())
    return [str(folder), "--as", "dicom"]


def joined(plants: Plants, place: Path) -> list[str]:
    pytest.importorskip("pydicom")
    folder, rows = place / plants.new("studies"), []
    for number in range(6):
        accession, patient = plants.new("acc")[:16], plants.new("patient")
        fields = study(accession, patient) | tags(plants) | {"StudyInstanceUID": f"1.2.826.{number}"}
        write(
            folder / plants.new("folder") / f"{plants.new('file')}.dcm",
            20 * number,
            **fields | {"AccessionNumber": accession},
        )
        rows.append(
            {
                "AccessionNumber": accession,
                "question": f"Is there a mass, {number}?",
                "answer": "yes",
                "Name": plants.new("cell"),
            }
        )
    rows.append({**rows[0], "AccessionNumber": plants.new("acc")})
    rows.append({**rows[1], "question": f"Is there a mass in {rows[1]['AccessionNumber']}?"})
    return [str(folder), "--join", str(as_csv(place / f"{plants.new('table')}.csv", rows))]


def tags(plants: Plants) -> dict[str, str]:
    names = ("PatientName", "PatientID", "InstitutionName", "ReferringPhysicianName", "StudyDescription",
             "SeriesDescription", "PatientComments", "OtherPatientNames", "StationName", "ProtocolName")  # fmt: skip
    return {name: plants.new("tag") for name in names}


MAKERS = [own_table, own_workbook, texts_only, zip_archive, class_folders, dicom_files, joined]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Plants, Path]]:
    """The planted identifiers, and a user's folder with one in its name."""
    plants = Plants()
    folder = tmp_path / plants.new("user")
    folder.mkdir()
    yield plants, folder


@pytest.fixture
def run(commands: Commands) -> Run:
    """The output of a command, which need not succeed; run in an empty folder with caches of its own."""

    def output(home: Path, *arguments: str) -> str:
        work = home / "work"
        work.mkdir(exist_ok=True)
        caches = {"XDG_CACHE_HOME": str(home / "cache"), "XDG_CONFIG_HOME": str(home / "config")}
        done = commands.run(work, *arguments, **caches)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    return output


def written(*folders: Path) -> dict[str, bytes]:
    """Every file below these folders, by its path, which is searched too."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): str(path.name).encode() + b"\n" + path.read_bytes() for path in files}


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_no_file_of_a_prepared_folder_holds_an_identifier(make: Any, place: tuple[Plants, Path], run: Run) -> None:
    plants, user = place
    home = user.parent
    source = make(plants, user)
    out = ["--out", "data", "--max-rejected", "0.9"]
    shown = run(home, "data", "prepare", *source, *out)
    assert (home / "work/data/card.json").is_file(), shown
    outputs = {
        "audit": run(home, "data", "audit", "data"),
        "audit --json": run(home, "data", "audit", "data", "--json"),
        "show": run(home, "data", "show", "data"),
        "check": run(home, "check", "--recipe", "rl-plain", "data.source=folder", "data.path=data", "--nano"),
    }
    files = written(home / "work", home / "cache")
    assert "samples" in outputs["check"] or make is texts_only
    assert len(plants.made) > 20
    assert any(name.endswith("audit.html") for name in files)
    assert plants.leaks(files) == set()
    assert plants.leaks({name: text.encode() for name, text in outputs.items()}) == set()


def test_the_search_finds_what_is_planted(place: tuple[Plants, Path]) -> None:
    plants, user = place
    source = own_table(plants, user)
    assert len(plants.made) > 150
    missing = set(plants.made) - {plant for _, plant in plants.leaks(written(user))}
    assert {
        plant for plant in missing if not any(kind in plant for kind in ("user", "patient", "folder", "xmp"))
    } == set()
    assert source[0].endswith(".csv")


def test_the_names_are_in_one_private_file(
    place: tuple[Plants, Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plants, user = place
    home = user.parent
    source = own_table(plants, user)
    shown = run(home, "data", "prepare", *source, "--out", "data", "--max-rejected", "0.9")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    private = source_names.names_file(home / "work/data")
    assert str(private) in shown
    assert private.stat().st_mode & 0o777 == 0o600
    rejected = lines(home / "work/data/rejected.jsonl")
    names = source_names.read_names(home / "work/data")
    assert {names[row["file"]] for row in rejected} == {Path(source[0]).name}
    assert [row["line"] for row in rejected] == [50, 51, 52, 53]
    run(
        home, "data", "prepare", *source, "--out", "data"
    )  # too many are rejected: the folder stays, a list is next to it
    listed = home / "work/data.rejected.jsonl"
    assert Path(source[0]).name in listed.read_text(encoding="utf-8")
    assert listed.stat().st_mode & 0o777 == 0o600


def test_a_data_set_without_rejected_rows_has_no_private_file(tmp_path: Path, run: Run) -> None:
    make_image(1).save(tmp_path / "a.png")
    good = {"image": "a.png", "question": "Is there a mass?", "answer": "no"}
    for rows, exists in (([good, {**good, "answer": ""}], True), ([good], False)):
        as_csv(tmp_path / "t.csv", rows)
        run(tmp_path, "data", "prepare", str(tmp_path / "t.csv"), "--out", "data", "--max-rejected", "0.9")
        assert any((tmp_path / "config/lowmed").rglob("names/*.json")) == exists


@pytest.mark.slow
def test_a_run_its_evaluation_and_its_report_hold_no_identifier(place: tuple[Plants, Path], run: Run) -> None:
    plants, user = place
    home = user.parent
    source = own_table(plants, user)
    run(home, "data", "prepare", *source, "--out", "data", "--max-rejected", "0.9")
    data = ["data.source=folder", "data.path=data"]
    steps = [
        ["sft", "--recipe", "vqa-rad-sft", "--nano", *data, "method.max_steps=2", "--out", "run"],
        ["eval", "run"],
        ["report", "run"],
        ["ask", "run", str(next(user.rglob("*.png"))), "Is there a mass?", "--json"],
        ["probe", "run"],
    ]
    outputs = {step[0]: run(home, *step).encode() for step in steps}
    files = written(home / "work", home / "cache")
    assert any(name.endswith("report.html") for name in files), outputs
    assert b'"image 1"' in outputs["ask"]
    assert plants.leaks(files) == set()
    assert plants.leaks(outputs) == set()
    assert plants.leaks({"list": json.dumps(sorted(files)).replace(str(home), "").encode()}) == set()


def test_unused_files_of_a_known_source_are_digests(tmp_path: Path, run: Run) -> None:
    plants = Plants()
    copy = tmp_path / "rad"
    shutil.copytree(FIXTURES / "vqa-rad", copy)
    folder = next(path for path in copy.rglob("*") if path.is_dir() and any(path.glob("*.jpg")))
    Image.open(next(folder.glob("*.jpg"))).save(folder / f"{plants.new('unused')}.jpg")
    run(tmp_path, "data", "prepare", "vqa-rad", "--path", str(copy), "--out", "data")
    card = json.loads((tmp_path / "work/data/card.json").read_text())
    assert len(card["unused_images"]) == 2
    assert plants.leaks(written(tmp_path / "work")) == set()
    shown = run(tmp_path, "check", "--recipe", "rl-plain", "data.source=vqa-rad", f"data.path={copy}", "--nano")
    assert "Traceback" not in shown
    assert plants.leaks(written(tmp_path / "cache")) == set()


@pytest.mark.parametrize(
    ("reason", "public"),
    [
        ("no answer", "no answer"),
        ("a cell holds the date `1950-01-01`; store it as text", "a cell holds the date ...; store it as text"),
        (
            "the answer 'Anna: Mueller' is not exactly one of the options",
            "the answer ... is not exactly one of the options",
        ),
        ("text follows the last option in the question: Anna Mueller", "text follows the last option in the question"),
        ('the answer "Anna\'s" is the text of one option', "the answer ... is the text of one option"),
        ("the image cannot be decoded (OSError: Anna (Mueller) b. 1950)", "the image cannot be decoded ..."),
        ("invalid literal for int() with base 10: 'Anna'", "invalid literal for int..."),
    ],
)
def test_reasons_lose_what_they_quote(reason: str, public: str) -> None:
    assert source_names.without_contents(reason) == public
