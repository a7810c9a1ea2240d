"""IU X-ray (Demner-Fushman et al. 2016), the chest radiographs of Open-i with their reports, one XML file a report.

A row is one report with all of its images, frontal and lateral ones, in the order of the file. The reference has the
sections findings and impression under these headings. Sentences in which de-identification left a mark (XXXX) are left
out: the mark stands for a name, a date or a number, and no image shows it. The files name no patient, so the group is
the report; a patient with several reports may be in several parts of a split.
"""

import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from lowmed.answer.report import require_words, without_masked_sentences
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import ImageRoot, RawSample, RowLocation, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

ARCHIVE, REPORTS = "NLMCXR_reports.tgz", "ecgen-radiology"
QUESTION = "Write a radiology report with findings and impression."
SECTIONS = ("FINDINGS", "IMPRESSION")
MAX_BYTES = 2**20  # of one XML file; real ones have a few KiB


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the XML files of the folder, or of the archive of reports in it, and the PNG images below the folder.

    Raises:
        DataError: there are no reports, or no images.
    """
    del options
    images = {path.stem: path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))}
    archive = next(iter(sorted(folder.rglob(ARCHIVE))), None)
    files = sorted((file for file in folder.rglob("*.xml") if file.parent.name == REPORTS), key=_number)
    if not files and archive is None:
        raise DataError("the folder contains no reports", str(folder), f"it needs {IU_XRAY.files}")
    if not images:
        fix = "unpack NLMCXR_png.tgz there; images are not read from the archive"
        raise DataError("the folder contains no PNG images", str(folder), fix)
    rows = ((RowLocation(f"{REPORTS}/{file.name}"), _content(file)) for file in files)
    named = rows if files else _members(archive or folder)
    where = f"{len(files):,} files" if files else ARCHIVE
    return RowStream(
        read_rows(named, partial(read, ImageRoot(folder), images)),
        f"reports  {where}, {len(images):,} images",
        len(files) or len(images) // 2,
    )


def read(root: ImageRoot, images: Mapping[str, str], content: bytes | str) -> RawSample:
    """Convert one report.

    Args:
        root: the folder.
        images: the name of an image without its ending -> its path in the folder.
        content: the XML file, or why it cannot be read.

    Raises:
        ValueError: it cannot be read, has no words or no images, or an image is missing.
    """
    if isinstance(content, str):
        raise ValueError(content)
    report = _parsed(content)
    sections = {section.get("Label", "").upper(): _text(section) for section in report.iter("AbstractText")}
    if not any(sections.get(name) for name in SECTIONS):
        raise ValueError("the report has neither findings nor impression")
    written = {name: without_masked_sentences(sections.get(name, "")) for name in SECTIONS}
    answer = "\n".join(f"{name.capitalize()}: {text}" for name, text in written.items() if text)
    try:
        require_words("\n".join(written.values()))
    except ValueError:
        raise ValueError("every sentence of the report has a mark of de-identification") from None
    names = [image.get("id", "") for image in report.iter("parentImage")]
    if not names:
        raise ValueError("the report has no image")
    if missing := next((name for name in names if name not in images), ""):
        raise ValueError(f"the image {missing}.png is not in the folder")
    identifier = next((element.get("id", "") for element in report.iter("uId")), "") or names[0]
    terms = {_text(term).casefold() for term in report.iter("major")}
    return RawSample(
        question=QUESTION,
        answer=answer,
        kind="report",
        images=tuple(root.image(images[name], "report") for name in dict.fromkeys(names)),
        id=identifier,
        group=identifier,
        modality="X-ray",
        topic="normal" if terms == {"normal"} else "abnormal" if terms else "",
        source="iu-xray",
    )


def _parsed(content: bytes) -> ET.Element:
    """The root element; entities and document types, which these files do not have, are refused."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("the XML file declares a document type, which files of this data set do not")
    try:
        return ET.fromstring(content)  # noqa: S314  declarations are refused above
    except ET.ParseError as error:
        raise ValueError(f"the file is not XML ({error})") from error


def _text(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _content(file: Path) -> bytes | str:
    if file.stat().st_size > MAX_BYTES:
        return "the file is over 1 MiB, which is no report of this data set"
    return file.read_bytes()


def _members(archive: Path) -> Iterator[tuple[RowLocation, bytes | str]]:
    """The XML files of the archive of reports, which is read in place and never unpacked.

    Raises:
        DataError: the archive is damaged.
    """
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.suffix != ".xml":
                    continue
                file = opened.extractfile(member) if member.size <= MAX_BYTES else None
                yield RowLocation(name.name), file.read() if file else "the file is over 1 MiB"
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"the archive cannot be read ({error})", archive.name, "copy it again") from error


def _number(file: Path) -> tuple[int, str]:
    return (int(file.stem) if file.stem.isdecimal() else 0), file.name


IU_XRAY = Source(
    name="iu-xray",
    about="chest X-rays, mostly frontal and lateral, with the findings and impression of their reports (Open-i)",
    size="3,955 reports on 7,470 images; those without a report or an image are rejected",
    kinds="report",
    license="CC BY-NC-ND 4.0",
    citation="Demner-Fushman et al., JAMIA 23(2):304-310, 2016",
    url="https://openi.nlm.nih.gov/faq",
    files=f"{REPORTS}/*.xml or {ARCHIVE}, and the images of NLMCXR_png.tgz, unpacked",
    open=open_folder,
    reference_tokens=300,
    images=5,  # assumed
)
