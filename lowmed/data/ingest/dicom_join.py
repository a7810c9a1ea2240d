"""Rows of a table with the images of the DICOM studies that they name.

Keys and identifiers of patients stay in memory: rows get pseudonyms, and texts for the user count or number them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lowmed.data.image.dicom import pseudonym
from lowmed.data.image.files import MAX_FRAMES
from lowmed.data.ingest import cells, detect, join_keys, study_identifiers, tables
from lowmed.data.ingest.conversations import Turn
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.dicom_series import Chosen, SeriesChoice, choose
from lowmed.data.ingest.dicom_studies import Study, read_studies
from lowmed.data.ingest.join_labels import labels
from lowmed.data.ingest.join_report import JoinTable, Outcomes, describe
from lowmed.data.ingest.raw_sample import (
    Entry,
    ImageFile,
    ImageRoot,
    ImageStack,
    RawSample,
    Rejection,
)
from lowmed.errors import DataError, RecipeError
from lowmed.progress import Advance

# Columns that the join adds.
IMAGE_COLUMN, QUESTION_COLUMN, OPTIONS_COLUMN = "(images of the study)", "(--question)", "(the different answers)"
IDENTIFIER = "the row's text contains an identifier of its study (name, number, date or UID)"


@dataclass(frozen=True)
class JoinOptions:
    """How studies are joined with a table.

    Attributes:
        table: the table of questions, reports or labels.
        on: COLUMN=TAG; None to find them.
        choice: which images of a study are used.
    """

    table: Path
    on: str | None = None
    choice: SeriesChoice = field(default_factory=SeriesChoice)


def joined_rows(
    folder: Path,
    join: JoinOptions,
    options: ImportOptions,
    salt: bytes,
    advance: Advance = lambda done, note: None,
) -> RowStream:
    """The rows of the table, each with the images of its study.

    Args:
        folder: the studies, in any nesting.
        join: the table, and the choice of images.
        options: the column mapping.
        salt: salt of the pseudonyms.
        advance: called with the number of files whose tags are read, and a note.

    Raises:
        DataError: the folder contains no DICOM image, or the table cannot be read.
        RecipeError: the columns cannot be recognized, or an option contradicts the join.
    """
    if not folder.is_dir():
        raise DataError("--join needs a folder of DICOM studies", str(folder), "name the folder as SOURCE")
    if options.images or options.columns.get("image") or options.format:
        raise RecipeError("--join takes the images from the studies", "--join", "leave out --images, --as and image=")
    table = _read_keys(join.table, options)
    studies = read_studies(folder, advance)
    key = _join_key(join, table, options, studies.studies)
    outcomes = _match(studies.studies, key, table, join.choice)
    mapping = {**options.columns, "image": IMAGE_COLUMN}
    added: dict[str, Any] = {}
    if options.question is not None:
        added[QUESTION_COLUMN] = options.question
        mapping["question"] = QUESTION_COLUMN
        if choices := labels(join.table, options, table.names, QUESTION_COLUMN):
            added[OPTIONS_COLUMN] = list(choices)
            mapping["options"] = OPTIONS_COLUMN
    lines = _lines(join, options, outcomes, key, added)
    count = len(outcomes.problems)
    try:
        rows = detect.stream_rows(lines, count, ImageRoot(folder), replace(options, columns=mapping), detect.SOURCE)
    except RecipeError as error:
        fix = error.fix if options.question else f"{error.fix}; --question TEXT sets one question for all rows"
        raise RecipeError(error.what, error.where, fix) from error
    entries = _entries(rows.entries, folder, outcomes, join, "group" in options.columns, salt)
    description = [*describe(studies, key, table, outcomes, salt), rows.description]
    return RowStream(entries, "\n".join(description), count)


def _read_keys(file: Path, options: ImportOptions, every: bool = False) -> JoinTable:
    """The columns and keys of a table; of all columns if `every`."""
    table = JoinTable([], {}, [])
    for number, (location, row) in enumerate(tables.read_table(file, options.turns)):
        table.lines.append(location.line)
        for name, cell in () if isinstance(row, str) else row.items():
            if name not in table.keys and (every or join_keys.candidate_tags(name)):
                table.keys[name] = []
            if name in table.keys:
                values = table.keys[name]
                values += [""] * (number - len(values))
                values.append(_key_text(cell))
            if name not in table.names:
                table.names.append(name)
    for values in table.keys.values():
        values += [""] * (len(table.lines) - len(values))
    return table


def _key_text(cell: Any) -> str:
    try:
        return cells.text(cell)
    except ValueError:
        return ""


def _join_key(
    join: JoinOptions, table: JoinTable, options: ImportOptions, studies: Sequence[Study]
) -> join_keys.JoinKey:
    if join.on:
        key = join_keys.parse_join_on(join.on, table.names)
        if key.column not in table.keys:
            table.keys[key.column] = _read_keys(join.table, options, every=True).keys[key.column]
        return key
    try:
        return join_keys.guess(table.keys, studies)
    except RecipeError as error:
        on = join_keys.suggestion(_read_keys(join.table, options, every=True).keys, studies)
        raise RecipeError(error.what, error.where, f"set it with --join-on '{on}'" if on else error.fix) from error


def _match(studies: Sequence[Study], key: join_keys.JoinKey, table: JoinTable, choice: SeriesChoice) -> Outcomes:
    outcomes = Outcomes()
    keys = table.keys[key.column]
    matcher = join_keys.KeyMatcher(studies, key.tag, keys)
    patients = {study.patient for study in studies if study.patient}
    stated = [] if key.tag == "PatientID" else [
        values for column, values in table.keys.items() if join_keys.candidate_tags(column) == ("PatientID",)
    ]  # fmt: skip
    cache: dict[str, tuple[Study | None, Chosen | None, str, str]] = {}
    for number, value in enumerate(keys):
        if value not in cache:
            match = matcher.match(value)
            study, chosen, problem = _images(studies, match, choice)
            cache[value] = study, chosen, problem, match.changed
        study, chosen, problem, changed = cache[value]
        if study and any(values[number] in patients and values[number] != study.patient for values in stated):
            study, chosen, problem = None, None, "the row names another patient than its study"
        outcomes.studies.append(study)
        outcomes.chosen.append(chosen)
        outcomes.problems.append(problem)
        outcomes.changed[changed] += bool(changed and chosen)
    return outcomes


def _images(
    studies: Sequence[Study], match: join_keys.Match, choice: SeriesChoice
) -> tuple[Study | None, Chosen | None, str]:
    """The study and the images of a row, or why it has none."""
    if match.problem:
        return None, None, match.problem
    fitting = [
        (studies[number], chosen)
        for number, series, image in match.places
        if (chosen := choose(studies[number], choice, series, image))
    ]
    if not fitting:
        return None, None, "the study has no image of the requested series"
    if len({study.person for study, _ in fitting}) > 1:
        return None, None, "the key names studies of several patients"
    if len(fitting) > 1:
        return None, None, "the key names several studies; join by accession number or study UID, or narrow the series"
    study, chosen = fitting[0]
    if len(chosen.slices) > MAX_FRAMES:
        return None, None, f"the series has over {MAX_FRAMES} slices; choose some with --frames"
    return study, chosen, ""


def _lines(
    join: JoinOptions, options: ImportOptions, outcomes: Outcomes, key: join_keys.JoinKey, added: Mapping[str, Any]
) -> Iterator[tables.Line]:
    """The rows of the table without columns of identifiers, with the numbers of their images in a column."""
    for number, (location, row) in enumerate(tables.read_table(join.table, options.turns)):
        if isinstance(row, str):
            yield location, row
            continue
        outcomes.by_location[location] = number
        chosen = outcomes.chosen[number]
        kept = {name: cell for name, cell in row.items() if not _is_identifier(name, key, options.columns)}
        # A row without images becomes a rejection below; until then it shows which columns the table has.
        images = len(chosen.slices) if chosen and join.choice.frames != "montage" else 1
        kept[IMAGE_COLUMN] = [f"{number}/{place}" for place in range(images)]
        kept |= added
        yield location, Turn(kept, row.conversation, row.users, row.notes) if isinstance(row, Turn) else kept


def _is_identifier(name: str, key: join_keys.JoinKey, mapping: Mapping[str, str]) -> bool:
    """Whether a column holds identifiers and is mapped to nothing; that of the patient may become the group."""
    tags = join_keys.candidate_tags(name)
    return name not in mapping.values() and (name == key.column or len(tags) == 1) and tags != ("PatientID",)


def _entries(
    entries: Iterable[Entry], folder: Path, outcomes: Outcomes, join: JoinOptions, own_group: bool, salt: bytes
) -> Iterator[Entry]:
    """The rows with the images of their studies, and without identifiers."""
    patterns: dict[int, re.Pattern[str] | None] = {}
    for location, entry in entries:
        number = outcomes.by_location.get(location)
        if number is None:
            yield location, entry
            continue
        study, chosen = outcomes.studies[number], outcomes.chosen[number]
        if study is None or chosen is None:
            yield location, Rejection(outcomes.problems[number])
            continue
        if id(study) not in patterns:
            patterns[id(study)] = study_identifiers.pattern(study)
        identifiers = patterns[id(study)]
        texts = (entry.reason,) if isinstance(entry, Rejection) else _texts(entry)
        if study_identifiers.holds(texts, identifiers):
            yield location, Rejection(IDENTIFIER)
        elif isinstance(entry, Rejection):
            yield location, entry
        else:
            files = tuple(ImageFile(folder, each.name) for each in chosen.slices)
            stacked = join.choice.frames == "montage" and len(files) > 1
            group = entry.group if own_group or not study.person else ""
            yield (
                location,
                replace(
                    entry,
                    images=(ImageStack(files),) if stacked else files,
                    id=_row_id(entry.id, study, identifiers, salt),
                    group=group or ("" if study.person else study.uid or study.accession),
                ),
            )


def _texts(raw: RawSample) -> Iterator[str]:
    """All texts of a row that are stored as they are."""
    yield from (raw.question, raw.answer, raw.explanation, raw.modality, raw.topic, raw.unit, raw.lower, raw.upper)
    yield from (raw.split, *raw.options, *raw.accepted, *(value for _, value in raw.strata))
    yield from (text for turn in raw.history for text in turn)


def _row_id(text: str, study: Study, identifiers: re.Pattern[str] | None, salt: bytes) -> str:
    """The row's id; a pseudonym if it contains an identifier of the study."""
    known = (study.patient, study.accession, study.uid)
    contains = any(value and value.casefold() in text.casefold() for value in known)
    return pseudonym(text, salt) if contains or study_identifiers.holds((text,), identifiers) else text
