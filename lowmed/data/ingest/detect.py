"""One's own data, in whatever form it arrives: a table, class folders, DICOM files, a hub id."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from lowmed.data.image import dicom
from lowmed.data.image.files import SUFFIXES as PICTURES
from lowmed.data.ingest import columns, tables
from lowmed.data.ingest.raw_sample import Entry, ImageFile, ImageRoot, RawSample, Rejection, RowLocation, read_rows
from lowmed.errors import DataError

SourceFormat = Literal["table", "classes", "dicom"]
ROWS_LOOKED_AT = 50  # before the columns are named
LOOKED_AT = 200  # files, before a folder is taken for what it is
MAX_CLASSES = 26
CLASS_QUESTION = "Which of these does the image show?"
MODALITY_QUESTION = "Which imaging modality is this?"
SOURCE = "own"


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about the data: which column is what, where the images lie, what to ask of class folders."""

    columns: Mapping[str, str] = field(default_factory=dict)
    images: Path | None = None
    language: Literal["en", "zh", "both"] = "en"
    question: str | None = None
    form: SourceFormat | None = None


@dataclass(frozen=True)
class RowStream:
    """Rows to come, how they were understood, and about how many there are."""

    entries: Iterator[Entry]
    understood: str
    count: int


def open_source(path: Path, wish: ImportOptions) -> RowStream:
    """The rows of a table file or a folder.

    Raises:
        DataError: there is nothing, or nothing that is known.
        RecipeError: the columns cannot be told.
    """
    if path.is_file():
        return _table(path, wish)
    if not path.is_dir():
        raise DataError("there is no such file or folder", str(path), "check the name; a hub id looks like owner/name")
    form = wish.form or _form(path)
    if form == "table":
        return _table(_only_table(path), wish)
    return _classes(path, wish) if form == "classes" else _films(path)


def concatenate(parts: Sequence[RowStream]) -> RowStream:
    """Several parts, such as the splits of a set, one after the other; the first says how it was understood."""
    entries = chain.from_iterable(part.entries for part in parts)
    return RowStream(entries, parts[0].understood, sum(part.count for part in parts))


def stream_rows(
    lines: Iterator[tables.Line], count: int, shelf: ImageRoot, wish: ImportOptions, source: str, split: str = "train"
) -> RowStream:
    """Rows of a table as questions, its columns found by the first of them."""
    first = list(islice(lines, ROWS_LOOKED_AT))
    known = columns.map_columns(tables.column_names(first), wish.columns)
    return RowStream(_drafts(chain(first, lines), known, shelf, source, split), f"columns  {known.describe()}", count)


def _drafts(
    lines: Iterator[tables.Line], known: columns.Columns, shelf: ImageRoot, source: str, split: str
) -> Iterator[Entry]:
    for where, row in lines:
        try:
            yield (
                where,
                Rejection(row)
                if isinstance(row, str)
                else columns.to_raw_sample(row, known, shelf, where, source, split),
            )
        except ValueError as error:
            yield where, Rejection(str(error))


def _table(file: Path, wish: ImportOptions) -> RowStream:
    return stream_rows(
        tables.read_table(file), tables.count_rows(file), ImageRoot(wish.images or file.parent), wish, SOURCE
    )


def _only_table(folder: Path) -> Path:
    result = sorted(path for path in folder.iterdir() if path.suffix.lower() in tables.SUFFIXES)
    named = [path for path in result if path.name == "samples.jsonl"] or result
    if len(named) != 1:
        told = f"{len(named)} tables in the folder" if named else "no table in the folder"
        raise DataError(told, str(folder), "name the table itself, e.g. FOLDER/questions.csv")
    return named[0]


def _form(folder: Path) -> SourceFormat:
    """What a folder is: DICOM files are asked for their modality, since their folders may be named after patients."""
    if any(path.suffix.lower() in tables.SUFFIXES for path in folder.iterdir()):
        return "table"
    files = _files(folder)
    films = sum(map(_is_film, files[:LOOKED_AT]))
    images = [path for path in files if path.suffix.lower() in PICTURES and path.parent != folder]
    if not films and not images:
        raise DataError(
            "the folder holds no table, no DICOM file and no folders of pictures",
            str(folder),
            f"name a table ({', '.join(tables.SUFFIXES)}), or say what it is with --as classes or --as dicom",
        )
    return "dicom" if films >= len(images) else "classes"


def _is_film(path: Path) -> bool:
    if path.suffix.lower() in dicom.SUFFIXES:
        return True
    with path.open("rb") as opened:
        return dicom.is_dicom(opened.read(132))


def _classes(folder: Path, wish: ImportOptions) -> RowStream:
    """A folder for each class, directly in `folder` or in its `train`, `test` ... folders."""
    splits = {path: columns.SPLITS.get(path.name.casefold(), "") for path in _folders(folder)}
    parts = splits if splits and all(splits.values()) else {folder: "train"}
    labels = sorted({path.name for part in parts for path in _folders(part)})
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise DataError(
            f"{len(labels)} class folders; a choice has 2 to {MAX_CLASSES} options",
            str(folder),
            "put the pictures of each class into a folder of its name, or write a table",
        )
    shown = {label: label.replace("_", " ").strip() for label in labels}
    question = wish.question or CLASS_QUESTION

    def rows() -> Iterator[tuple[RowLocation, tuple[str, str, str]]]:
        for part, split in parts.items():
            for label in _folders(part):
                for path in _files(label):
                    name = path.relative_to(folder).as_posix()
                    yield RowLocation(name), (split, label.name, name)

        for path in [path for part in sorted({folder, *parts}) for path in sorted(part.iterdir())]:
            if path.suffix.lower() in PICTURES and path.is_file():
                yield RowLocation(path.relative_to(folder).as_posix()), ("", "", "")

    def read(row: tuple[str, str, str]) -> RawSample:
        split, label, name = row
        if not label:
            raise ValueError("the picture lies in no class folder")
        image = ImageFile(folder, name)
        return RawSample(
            question, shown[label], "choice", (image,), split, options=tuple(shown.values()), source=SOURCE
        )

    return RowStream(
        read_rows(rows(), read), f"classes  {len(labels)}: {', '.join(shown.values())}", sum(1 for _ in rows())
    )


def _files(folder: Path) -> list[Path]:
    """All files below, in a fixed order, without the hidden ones that file managers leave."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _films(folder: Path) -> RowStream:
    """Every DICOM file below the folder, asked for what its tags alone can answer: the modality."""
    options = tuple(dict.fromkeys(dicom.MODALITIES.values()))
    films: list[Path] = []
    others: list[Path] = []
    for path in _files(folder):
        (films if _is_film(path) else others).append(path)
    images = [path for path in others if path.suffix.lower() in PICTURES]

    def entries() -> Iterator[Entry]:
        for path in films:
            name = path.relative_to(folder).as_posix()
            image = ImageFile(folder, name)
            asked = RawSample(MODALITY_QUESTION, "", "choice", (image,), options=options, source=SOURCE)
            yield RowLocation(name), replace(asked, asks_modality=True)
        for path in images:
            yield (
                RowLocation(path.relative_to(folder).as_posix()),
                Rejection("the picture has no DICOM tags to ask about"),
            )

    understood = f"dicom    {len(films)} of {len(films) + len(others)} files, each asked `{MODALITY_QUESTION}`"
    return RowStream(entries(), understood, len(films) + len(images))
