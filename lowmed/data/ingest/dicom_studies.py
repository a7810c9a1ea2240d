"""The DICOM studies in a folder, by the tags of their files; pixels are not read.

Tags that identify a patient are kept in memory only, to join studies with a table. No text for the user contains them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowmed.data.image import dicom
from lowmed.errors import DataError
from lowmed.progress import Advance

NO_IMAGE = "without an image (reports, presentation states, plans)"
LOCALIZER, CAPTURE, COPY = "localizers", "derived captures", "copies of another file"
NOT_DICOM, UNREADABLE = "not DICOM", "unreadable"
STACKED = frozenset({"CT", "MR", "PT"})  # a series of these is one volume; each image of others stands alone
# Modalities of files that show nothing to a reader, although some of them have pixels.
_NOT_SHOWN = frozenset({"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "REG", "RWV", "SR", "PR", "KO", "DOC"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_LOCALIZER_NAMES = re.compile(r"scout|locali[sz]er|topogram|surview|survey|scanogram", re.IGNORECASE)
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber", "PatientID",
    "PatientName", "PatientBirthDate", "StudyDate", "Modality", "SeriesDescription", "SeriesNumber", "ImageType",
    "ConversionType", "Rows", "NumberOfFrames", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slice:
    """A file with one image, or with several frames.

    Attributes:
        name: path in the folder.
        uid: its SOP instance UID.
        frames: number of frames.
        number: its instance number, if it has one.
        position: of its first pixel in mm, if known.
        orientation: directions of its rows and columns, if known.
    """

    name: str
    uid: str
    frames: int
    number: int | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None


@dataclass(slots=True)
class Series:
    """The images of one series: its UID, number, modality code and description."""

    uid: str
    number: int
    modality: str
    description: str
    captured: bool
    slices: list[Slice] = field(default_factory=list)

    @property
    def images(self) -> int:
        """The number of images, frames included."""
        return sum(each.frames for each in self.slices)


@dataclass(slots=True)
class Study:
    """The series of one study of one patient, and the tags that name both."""

    uid: str
    accession: str
    patient: str
    name: str
    dates: frozenset[str]
    series: dict[str, Series] = field(default_factory=dict)

    @property
    def person(self) -> str:
        """What names the patient: the id, else the name."""
        return self.patient or self.name


@dataclass(frozen=True, slots=True)
class Studies:
    """The studies of a folder in the order of their first files, and the files that are not used, by reason."""

    studies: tuple[Study, ...]
    skipped: Mapping[str, int]


def read_studies(folder: Path, advance: Advance = lambda done, note: None) -> Studies:
    """Read the tags of all DICOM files below a folder.

    Args:
        folder: the folder.
        advance: called with the number of files done and a note.

    Raises:
        DataError: no file is a DICOM image, or pydicom is not installed.
    """
    files = all_files(folder)
    studies: dict[tuple[str, str], Study] = {}
    skipped: Counter[str] = Counter()
    instances: set[str] = set()
    for done, path in enumerate(files, start=1):
        reason = _add(path, path.relative_to(folder).as_posix(), studies, instances)
        skipped[reason] += 1
        advance(done, "")
    del skipped[""]
    for study in studies.values():
        skipped[CAPTURE] += _drop_captures(study)
    if not any(study.series for study in studies.values()):
        seen = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items() if count)
        what = f"the folder contains no DICOM image ({seen or 'no file'})"
        raise DataError(what, str(folder), "name the folder that contains the studies, unpacked")
    return Studies(tuple(studies.values()), {reason: count for reason, count in sorted(skipped.items()) if count})


def all_files(folder: Path) -> list[Path]:
    """All files below the folder in a fixed order, without the hidden files of file managers."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _add(path: Path, name: str, studies: dict[tuple[str, str], Study], instances: set[str]) -> str:
    """Add a file to its study; the reason if it is not added, else ""."""
    tags = _read_tags(path)
    if isinstance(tags, str):
        return tags
    modality = _text(tags, "Modality").upper()
    if not tags.get("Rows") or modality in _NOT_SHOWN:
        return NO_IMAGE
    uid = _text(tags, "SOPInstanceUID")
    if uid and uid in instances:
        return COPY
    instances.add(uid)
    person = _text(tags, "PatientID") or _text(tags, "PatientName")
    key = (person, _text(tags, "StudyInstanceUID") or _text(tags, "AccessionNumber"))
    if key not in studies:
        studies[key] = _study(tags)
    kinds = {value.upper() for value in _values(tags, "ImageType")}
    description = _text(tags, "SeriesDescription")
    if "LOCALIZER" in kinds or (modality in STACKED and _LOCALIZER_NAMES.search(description)):
        return LOCALIZER
    captured = _text(tags, "SOPClassUID").startswith(_SECONDARY_CAPTURE) and (
        "DERIVED" in kinds or _text(tags, "ConversionType").upper() in ("WSD", "SYN")
    )
    series = Series(
        _text(tags, "SeriesInstanceUID"), _number(tags, "SeriesNumber") or 0, modality, description, captured
    )
    frames = max(_number(tags, "NumberOfFrames") or 1, 1)
    position, orientation = _numbers(tags, "ImagePositionPatient", 3), _numbers(tags, "ImageOrientationPatient", 6)
    image = Slice(name, uid, frames, _number(tags, "InstanceNumber"), position, orientation)
    studies[key].series.setdefault(series.uid, series).slices.append(image)
    return ""


def _study(tags: Any) -> Study:
    return Study(
        uid=_text(tags, "StudyInstanceUID"),
        accession=_text(tags, "AccessionNumber"),
        patient=_text(tags, "PatientID"),
        name=_text(tags, "PatientName"),
        dates=frozenset(filter(None, (_text(tags, "PatientBirthDate"), _text(tags, "StudyDate")))),
    )


def _drop_captures(study: Study) -> int:
    """Drop captures of a screen, such as dose reports; of modalities without volumes only if other images are there."""
    captured = [series for series in study.series.values() if series.captured]
    alone = len(captured) == len(study.series)
    dropped = [series for series in captured if not alone or series.modality in STACKED]
    for series in dropped:
        del study.series[series.uid]
    return sum(len(series.slices) for series in dropped)


def _read_tags(path: Path) -> Any:
    """The tags of a file without its pixels, or the reason why it has none."""
    try:
        with path.open("rb") as file:
            if not dicom.is_dicom(file.read(132)) and path.suffix.lower() not in dicom.SUFFIXES:
                return NOT_DICOM
    except OSError:
        return UNREADABLE
    pydicom = dicom.import_pydicom("the folder of studies")
    try:
        tags = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        read = {name: _value(tags, name) for name in _TAGS}
        return read if any(read.values()) else UNREADABLE
    except MemoryError:
        raise
    except Exception:  # the parser raises nearly any exception on a damaged file
        return UNREADABLE


def _value(tags: Any, name: str) -> Any:
    """A tag; None for one whose value is invalid, such as a number with letters."""
    try:
        return tags.get(name)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None


def _text(tags: Mapping[str, Any], name: str) -> str:
    value = tags.get(name)
    return "" if value is None else " ".join(str(value).replace("\0", "").split())


def _values(tags: Mapping[str, Any], name: str) -> Iterator[str]:
    value = tags.get(name)
    if value is not None:
        yield from (value,) if isinstance(value, str) else map(str, value)


def _number(tags: Mapping[str, Any], name: str) -> int | None:
    try:
        return int(_text(tags, name))
    except ValueError:
        return None


def _numbers(tags: Mapping[str, Any], name: str, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in tags.get(name) or ())
    except (ValueError, TypeError):
        return None
    return numbers if len(numbers) == count else None
