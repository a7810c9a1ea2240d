"""What a join of studies and table gives, and its summary in counts, row numbers and pseudonyms."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lowmed.data.image.dicom import MODALITIES, pseudonym
from lowmed.data.ingest.dicom_series import Chosen
from lowmed.data.ingest.dicom_studies import Studies, Study
from lowmed.data.ingest.join_keys import JoinKey
from lowmed.data.ingest.raw_sample import RowLocation

SHOWN = 8  # rows or studies of one kind in a list


@dataclass(slots=True)
class JoinTable:
    """The columns of a table, the values of those that may hold keys, and the line of each row."""

    names: list[str]
    keys: dict[str, list[str]]
    lines: list[int | None]


@dataclass(slots=True)
class Outcomes:
    """For each row of the table its study and images, or the reason why it has none."""

    studies: list[Study | None] = field(default_factory=list)
    chosen: list[Chosen | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    by_location: dict[RowLocation, int] = field(default_factory=dict)  # number of each row that was read so far
    changed: Counter[str] = field(default_factory=Counter)


def describe(read: Studies, key: JoinKey, table: JoinTable, outcomes: Outcomes, salt: bytes) -> Iterator[str]:
    """What was joined, in counts, row numbers and pseudonyms."""
    studies = read.studies
    people = len({study.person for study in studies})
    modalities = Counter(_code(series.modality) for study in studies for series in study.series.values())
    images = sum(series.images for study in studies for series in study.series.values())
    series = ", ".join(f"{count:,} {name}" for name, count in modalities.most_common())
    yield f"studies  {len(studies):,} of {people:,} patients; {images:,} images in series: {series}"
    if read.skipped:
        yield f"skipped  {', '.join(f'{count:,} {reason}' for reason, count in read.skipped.items())}"
    if people == 1 < len(studies):
        yield "WARNING  all files name one patient; name a column of patients with --map group="
    pairs = zip(outcomes.studies, outcomes.chosen, strict=True)
    used = {id(study): (study, chosen) for study, chosen in pairs if study and chosen}
    rows = sum(chosen is not None for chosen in outcomes.chosen)
    yield (
        f"join     {key.column}{'?' * key.guessed} = {key.tag}: {rows:,} of {len(outcomes.chosen):,} rows name "
        f"{len(used):,} of {len(studies):,} studies"
    )
    for changed, count in outcomes.changed.items():
        if count:
            yield f"         {count:,} rows match only apart from {changed}; each of them matches one identifier"
    taken = sum(len(chosen.slices) for _, chosen in used.values())
    offered = sum(series.images for study, _ in used.values() for series in study.series.values())
    yield f"images   {taken:,} of the {offered:,} images of these studies are used"
    reasons: dict[str, list[int | None]] = {}
    for line, problem in zip(table.lines, outcomes.problems, strict=True):
        if problem:
            reasons.setdefault(problem, []).append(line)
    for reason, lines in reasons.items():
        yield f"rejected {len(lines):,} rows, {reason}: lines {_first(str(line) for line in lines)}"
    unused = [pseudonym(study.uid or study.accession, salt) for study in studies if id(study) not in used]
    if unused:
        yield f"no row   {len(unused):,} studies: {_first(unused)}"


def _code(modality: str) -> str:
    """A known code only: another text could contain anything."""
    return modality if modality in MODALITIES else "of another modality"


def _first(items: Iterable[str]) -> str:
    """The first of several items."""
    listed = list(items)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")
