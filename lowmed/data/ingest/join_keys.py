"""Find the studies that the rows of a table name, by the value of one column and one DICOM tag."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lowmed.data.ingest.columns import plain_name
from lowmed.data.ingest.dicom_studies import Study
from lowmed.errors import RecipeError

# Tag -> common names of its column; the most specific tag first.
TAGS: dict[str, tuple[str, ...]] = {
    "SOPInstanceUID": ("sopinstanceuid", "sop_instance_uid", "sop_uid", "instance_uid", "image_uid"),
    "SeriesInstanceUID": ("seriesinstanceuid", "series_instance_uid", "series_uid", "seriesuid"),
    "StudyInstanceUID": ("studyinstanceuid", "study_instance_uid", "study_uid", "studyuid"),
    "AccessionNumber": (
        "accessionnumber", "accession_number", "accession", "accession_no", "accession_no.", "accession_num",
        "accession_id", "accessionid", "accession#", "accession_#", "acc", "acc_no", "acc_no.", "acc_nr", "acc_num",
        "acc_number", "accno", "accnr",
    ),
    "PatientID": (
        "patientid", "patient_id", "patient", "patient_no", "patient_nr", "patient_number", "pat_id", "patid", "pid",
        "mrn", "medical_record_number", "subject_id", "subject",
    ),
}  # fmt: skip
# Columns that may hold any of these; their values decide.
UNCLEAR = ("study_id", "studyid", "study", "exam_id", "exam", "examination", "series_id", "series", "image_id", "case",
           "case_id", "uid", "id", "key", "dicom_id", "order", "order_id", "order_number")  # fmt: skip
SUGGESTED_LENGTH = 5  # a shorter value in any other column may match by chance
Place = tuple[int, str, str]  # number of the study, series UID, SOP instance UID; "" where the tag names more


@dataclass(frozen=True, slots=True)
class JoinKey:
    """The column and the tag that join table and studies; `guessed` if the user did not set them."""

    column: str
    tag: str
    guessed: bool = True


@dataclass(frozen=True, slots=True)
class Match:
    """What a key names: the places, how the key had to be changed to match, or why it names none."""

    places: tuple[Place, ...] = ()
    changed: str = ""
    problem: str = ""


class KeyMatcher:
    """Matches the values of a column with those of a tag."""

    def __init__(self, studies: Sequence[Study], tag: str, values: Iterable[str]) -> None:
        """Set up the matcher.

        Args:
            studies: the studies.
            tag: one of TAGS.
            values: all values of the column, which decide whether a changed key is unambiguous.
        """
        self.table = set(values)
        self.exact: dict[str, list[Place]] = defaultdict(list)
        for value, place in tag_values(studies, tag):
            self.exact[value].append(place)
        self.plain, self.bare = _spellings(self.exact, _plain), _spellings(self.exact, _bare)
        self.written = _spellings({_plain(value) for value in self.table}, _bare)

    def match(self, value: str) -> Match:
        """The places that a value names."""
        if not value:
            return Match(problem="the row has no key")
        if value in self.exact:
            rivals = {rival for rival in self.bare[_bare(value)] if _plain(rival) != _plain(value)}
            if rivals - self.table:  # a spreadsheet may have made this key out of another one
                return Match(problem="the key matches several identifiers of the files, apart from leading zeros")
            return Match(tuple(self.exact[value]))
        for spellings, form, changed in (
            (self.plain, _plain, "other case or blanks"),
            (self.bare, _bare, "missing leading zeros, or a number with decimals"),
        ):
            alike = spellings.get(form(value), set())
            if len(alike) > 1:
                return Match(problem=f"the key matches several identifiers of the files, apart from {changed}")
            if alike:
                if form is _bare and len(self.written[_bare(value)]) > 1:
                    return Match(problem=f"rows with different keys match one identifier, apart from {changed}")
                return Match(tuple(self.exact[next(iter(alike))]), changed)
        if re.fullmatch(r"\d([.,]\d+)?[eE]\+?\d+", value):
            return Match(problem="a spreadsheet rounded the key (1.2E+11); save the column as text")
        return Match(problem="the folder has no study with the key of the row")


def tag_values(studies: Sequence[Study], tag: str) -> Iterable[tuple[str, Place]]:
    """Every value of a tag, with its place."""
    for number, study in enumerate(studies):
        if tag in ("AccessionNumber", "PatientID", "StudyInstanceUID"):
            by_tag = {"AccessionNumber": study.accession, "PatientID": study.patient, "StudyInstanceUID": study.uid}
            if by_tag[tag]:
                yield by_tag[tag], (number, "", "")
            continue
        for series in study.series.values():
            if tag == "SeriesInstanceUID" and series.uid:
                yield series.uid, (number, series.uid, "")
            elif tag == "SOPInstanceUID":
                yield from ((each.uid, (number, series.uid, each.uid)) for each in series.slices if each.uid)


def candidate_tags(column: str) -> tuple[str, ...]:
    """The tags that a column of this name may hold."""
    name = plain_name(column)
    known = tuple(tag for tag, names in TAGS.items() if name in names)
    return known or (tuple(TAGS) if name in UNCLEAR else ())


def parse_join_on(text: str, columns: Sequence[str]) -> JoinKey:
    """The value of --join-on: COLUMN=TAG.

    Raises:
        RecipeError: the table has no such column, or the tag is not one of TAGS.
    """
    column, _, name = (part.strip() for part in text.rpartition("="))
    tag = next((tag for tag in TAGS if tag.casefold() == name.casefold()), "")
    if not tag or column not in columns:
        what = f"there is no column `{column}`; the table has {', '.join(columns)}" if tag else f"`{text}` names no tag"
        raise RecipeError(what, "--join-on", f"--join-on COLUMN=TAG, where TAG is one of {', '.join(TAGS)}")
    return JoinKey(column, tag, guessed=False)


def guess(values: Mapping[str, Sequence[str]], studies: Sequence[Study]) -> JoinKey:
    """The column and the tag that join most rows; of those that join at least half as many, the most specific tag.

    Args:
        values: each column that may hold a key, with its value in each row.
        studies: the studies.

    Raises:
        RecipeError: no column matches, or several match the same tag.
    """
    rows: dict[JoinKey, int] = {}
    for column, keys in values.items():
        for tag in candidate_tags(column):
            matcher = KeyMatcher(studies, tag, keys)
            shortest = 1 if len(candidate_tags(column)) == 1 else SUGGESTED_LENGTH
            if count := sum(bool(len(key) >= shortest and matcher.match(key).places) for key in keys):
                rows[JoinKey(column, tag)] = count
    good = [key for key, count in rows.items() if 2 * count >= max(rows.values())]
    tag = next((tag for tag in TAGS if any(key.tag == tag for key in good)), "")
    best = [key for key in good if key.tag == tag]
    if len(best) > 1:
        names = " and ".join(f"`{key.column}`" for key in best)
        fix = f"name one: --join-on '{best[0].column}={tag}'"
        raise RecipeError(f"the columns {names} both match the tag {tag}", "--join", fix)
    if not best:
        raise RecipeError(
            f"no row matches a study; columns with keys: {', '.join(values) or 'none'}",
            "--join",
            f"name the column and its tag, e.g. --join-on 'COLUMN=AccessionNumber'; tags: {', '.join(TAGS)}",
        )
    return best[0]


def suggestion(values: Mapping[str, Sequence[str]], studies: Sequence[Study]) -> str:
    """A value for --join-on by content alone, for a table without a common column name; "" if there is none."""
    for tag in TAGS:
        known = {_bare(value) for value, _ in tag_values(studies, tag) if len(value) >= SUGGESTED_LENGTH}
        for column, keys in values.items():
            if any(len(key) >= SUGGESTED_LENGTH and _bare(key) in known for key in keys):
                return f"{column}={tag}"
    return ""


def _plain(value: str) -> str:
    return "".join(value.split()).casefold()


def _bare(value: str) -> str:
    """Without leading zeros and `.0`, which spreadsheets remove and add."""
    plain = _plain(value)
    return (re.sub(r"^(\d+)\.0+$", r"\1", plain)).lstrip("0") or "0"


def _spellings(values: Iterable[str], form: Callable[[str], str]) -> dict[str, set[str]]:
    spellings: dict[str, set[str]] = defaultdict(set)
    for value in values:
        spellings[form(value)].add(value)
    return spellings
