"""Recognize a user's data: a table, class folders, or DICOM files; and turn them into rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from lowmed.data.image import dicom
from lowmed.data.image.files import SUFFIXES as IMAGE_SUFFIXES
from lowmed.data.ingest import cells, columns, tables
from lowmed.data.ingest.conversations import TurnsKept
from lowmed.data.ingest.raw_sample import Entry, ImageFile, ImageRoot, RawSample, Rejection, RowLocation, read_rows
from lowmed.errors import DataError

SourceFormat = Literal["table", "classes", "dicom"]
Language = Literal["en", "zh", "both"]
ROWS_FOR_COLUMNS = 50  # rows whose columns are collected before the columns are mapped
FILES_FOR_FORMAT = 200  # files that are inspected to recognize the format of a folder
MAX_CLASSES = 26
CLASS_QUESTION = "Which of these does the image show?"
MODALITY_QUESTION = "Which imaging modality is this?"
SOURCE = "own"


@dataclass(frozen=True)
class ImportOptions:
    """The user's description of the data.

    Attributes:
        columns: lowmed's field name -> the table's column.
        images: folder or zip of a table's images; None for the table's folder.
        language: the language to keep of a bilingual source.
        question: the question about the images of class folders.
        format: what a folder contains; None to recognize it.
        image_optional: whether a row of a table with an empty image cell is a question without an image.
        turns: the turns of a conversation that become questions.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    images: Path | None = None
    language: Language = "en"
    question: str | None = None
    format: SourceFormat | None = None
    image_optional: bool = False
    turns: TurnsKept = "all"


@dataclass(frozen=True)
class RowStream:
    """A stream of rows.

    Attributes:
        entries: the rows, read on demand.
        description: how the source was interpreted, for the user.
        count: an estimate of the number of rows.
        unused_images: image files of a known source that no row refers to.
    """

    entries: Iterator[Entry]
    description: str
    count: int
    unused_images: tuple[str, ...] = ()


def open_source(path: Path, options: ImportOptions) -> RowStream:
    """The rows of a table file or a folder.

    Raises:
        DataError: the path does not exist, or its format is not recognized.
        RecipeError: the columns cannot be recognized.
    """
    if path.is_file():
        return _table(path, options)
    if not path.is_dir():
        raise DataError("no such file or folder", str(path), "check the name; a hub id looks like owner/name")
    source_format = options.format or _recognize(path)
    if source_format == "table":
        return _table(_only_table(path), options)
    return _class_folders(path, options) if source_format == "classes" else _dicom_files(path)


def concatenate(parts: Sequence[RowStream]) -> RowStream:
    """Several streams, such as the splits of a data set, one after another; the description is that of the first."""
    entries = chain.from_iterable(part.entries for part in parts)
    return RowStream(entries, parts[0].description, sum(part.count for part in parts))


def stream_rows(
    lines: Iterator[tables.Line], count: int, root: ImageRoot, options: ImportOptions, source: str, split: str = "train"
) -> RowStream:
    """Convert the rows of a table; the first rows determine the column mapping.

    Args:
        lines: the rows of the table.
        count: an estimate of their number.
        root: where the images are.
        options: the column mapping.
        source: the source's name in the samples.
        split: the split of rows that name none.

    Raises:
        RecipeError: the columns cannot be recognized.
    """
    first = list(islice(lines, ROWS_FOR_COLUMNS))
    mapped = columns.map_columns(tables.column_names(first), _with_history(options.columns, first))
    entries = _convert(chain(first, lines), mapped, root, source, split, options.image_optional)
    return RowStream(entries, f"columns  {mapped.describe()}", count)


def _with_history(mapping: Mapping[str, str], lines: Sequence[tables.Line]) -> Mapping[str, str]:
    """The mapping without a guessed column of earlier turns, unless some row of the table has a list of them there."""
    rows = (row for _, row in lines if not isinstance(row, str))
    if "history" in mapping or any(cells.holds_turns(row.get("history")) for row in rows):
        return mapping
    return {**mapping, "history": ""}


def _convert(
    lines: Iterator[tables.Line],
    mapped: columns.Columns,
    root: ImageRoot,
    source: str,
    split: str,
    image_optional: bool,
) -> Iterator[Entry]:
    for location, row in lines:
        if isinstance(row, str):
            yield location, Rejection(row)
            continue
        try:
            yield (
                location,
                columns.to_raw_sample(row, mapped, root, location, source, split, image_optional=image_optional),
            )
        except ValueError as error:
            yield location, Rejection(str(error))


def _table(file: Path, options: ImportOptions) -> RowStream:
    root = ImageRoot(options.images or file.parent, named=options.images is not None)
    return stream_rows(
        tables.read_table(file, options.turns), tables.count_rows(file, options.turns), root, options, SOURCE
    )


def _only_table(folder: Path) -> Path:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in tables.SUFFIXES)
    preferred = [path for path in files if path.name == "samples.jsonl"] or files
    if len(preferred) != 1:
        what = f"{len(preferred)} tables in the folder" if preferred else "no table in the folder"
        raise DataError(what, str(folder), "name the table itself, e.g. FOLDER/questions.csv")
    return preferred[0]


def _recognize(folder: Path) -> SourceFormat:
    """The format of a folder. DICOM takes precedence over classes: its folders may have patients' names."""
    if any(path.suffix.lower() in tables.SUFFIXES for path in folder.iterdir()):
        return "table"
    files = _files(folder)
    dicom_count = sum(map(_is_dicom, files[:FILES_FOR_FORMAT]))
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and path.parent != folder]
    if not dicom_count and not images:
        raise DataError(
            "the folder contains no table, no DICOM file and no folders of images",
            str(folder),
            f"name a table ({', '.join(tables.SUFFIXES)}), or set the format with --as classes or --as dicom",
        )
    return "dicom" if dicom_count >= len(images) else "classes"


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in dicom.SUFFIXES:
        return True
    with path.open("rb") as file:
        return dicom.is_dicom(file.read(132))


def _class_folders(folder: Path, options: ImportOptions) -> RowStream:
    """A folder for each class, directly in `folder` or in its `train`, `test` ... folders."""
    splits = {path: columns.SPLITS.get(path.name.casefold(), "") for path in _folders(folder)}
    parts = splits if splits and all(splits.values()) else {folder: "train"}
    labels = sorted({path.name for part in parts for path in _folders(part)})
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise DataError(
            f"{len(labels)} class folders; a choice has 2 to {MAX_CLASSES} options",
            str(folder),
            "put the images of each class into a folder with its name, or write a table",
        )
    names = {label: label.replace("_", " ").strip() for label in labels}
    question = options.question or CLASS_QUESTION

    def rows() -> Iterator[tuple[RowLocation, tuple[str, str, str]]]:
        for part, split in parts.items():
            for label in _folders(part):
                for path in _files(label):
                    name = path.relative_to(folder).as_posix()
                    yield RowLocation(name), (split, label.name, name)

        for path in [path for part in sorted({folder, *parts}) for path in sorted(part.iterdir())]:
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                yield RowLocation(path.relative_to(folder).as_posix()), ("", "", "")

    def read(row: tuple[str, str, str]) -> RawSample:
        split, label, name = row
        if not label:
            raise ValueError("the image is in no class folder")
        image = ImageFile(folder, name)
        return RawSample(
            question, names[label], "choice", (image,), split, options=tuple(names.values()), source=SOURCE
        )

    description = f"classes  {len(labels)}: {', '.join(names.values())}"
    return RowStream(read_rows(rows(), read), description, sum(1 for _ in rows()))


def _files(folder: Path) -> list[Path]:
    """All files below the folder in a fixed order, without the hidden files of file managers."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _dicom_files(folder: Path) -> RowStream:
    """Every DICOM file below the folder, with the one question that its tags alone can answer: the modality."""
    options = tuple(dict.fromkeys(dicom.MODALITIES.values()))
    dicom_files: list[Path] = []
    others: list[Path] = []
    for path in _files(folder):
        (dicom_files if _is_dicom(path) else others).append(path)
    images = [path for path in others if path.suffix.lower() in IMAGE_SUFFIXES]

    def entries() -> Iterator[Entry]:
        for path in dicom_files:
            name = path.relative_to(folder).as_posix()
            image = ImageFile(folder, name)
            sample = RawSample(MODALITY_QUESTION, "", "choice", (image,), options=options, source=SOURCE)
            yield RowLocation(name), replace(sample, answer_is_modality=True)
        for path in images:
            location = RowLocation(path.relative_to(folder).as_posix())
            yield location, Rejection("the image has no DICOM tags that name its modality")

    total = len(dicom_files) + len(others)
    description = f"dicom    {len(dicom_files)} of {total} files, each with the question `{MODALITY_QUESTION}`"
    return RowStream(entries(), description, len(dicom_files) + len(images))
