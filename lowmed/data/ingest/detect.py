"""Recognize a user's data: a table, class folders, or DICOM files; and turn them into rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from lowmed.data.image import dicom
from lowmed.data.image.files import SUFFIXES as IMAGE_SUFFIXES
from lowmed.data.ingest import cells, columns, table_files, tables
from lowmed.data.ingest.boxes import BoxUnit
from lowmed.data.ingest.conversations import TurnsKept
from lowmed.data.ingest.label_columns import FIELDS, LabelColumns
from lowmed.data.ingest.raw_sample import Entry, ImageFile, ImageRoot, RawSample, Rejection, RowLocation, read_rows
from lowmed.data.ingest.read_row import RowReader
from lowmed.errors import DataError, RecipeError

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
        encoding: of a table in a text file; None to recognize UTF-8 and UTF-16.
        boxes: unit of the boxes in questions and answers; None if there are none.
        labels: the columns of a table that hold one finding each; None if its rows are questions.
        group_pattern: regular expression of the patient in an image's path, for a table without such a column.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    images: Path | None = None
    language: Language = "en"
    question: str | None = None
    format: SourceFormat | None = None
    image_optional: bool = False
    turns: TurnsKept = "all"
    encoding: str | None = None
    boxes: BoxUnit | None = None
    labels: LabelColumns | None = None
    group_pattern: str | None = None


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
        return _archive(path, options) if path.suffix.lower() == ".zip" else _table(path, options)
    if not path.is_dir():
        raise DataError("no such file or folder", str(path), "check the name; a hub id looks like owner/name")
    source_format = options.format or _recognize(path)
    if source_format == "table":
        return _tables_in(path, options)
    if options.labels or options.group_pattern:
        flag = "--labels" if options.labels else "--group-pattern"
        raise RecipeError(
            f"{flag} is for a table, and this is a folder of images", flag, "remove it, or name the table"
        )
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
    if first and all(isinstance(row, str) for _, row in first):
        location, reason = first[0]
        raise DataError(f"no row can be read: {reason}", str(location), "correct the table, or export it again")
    names, mapping = tables.column_names(first), _with_history(options.columns, first)
    if options.labels:
        options.labels.require_usable(names)
        names, mapping = [*names, *FIELDS.values()], options.labels.mapping(mapping)
    mapped = columns.map_columns(names, mapping)
    reader = RowReader(
        mapped,
        root,
        source,
        split,
        image_optional=options.image_optional,
        boxes=options.boxes,
        group_pattern=options.group_pattern,
    )
    rows: Iterator[tables.Line] = chain(first, lines)
    if options.labels:
        rows = options.labels.expand(rows, mapped.by_field.get("id", ""))
        count *= len(options.labels.columns)
    return RowStream(_convert(rows, reader), f"columns  {mapped.describe()}", count)


def _with_history(mapping: Mapping[str, str], lines: Sequence[tables.Line]) -> Mapping[str, str]:
    """The mapping without a guessed column of earlier turns, unless some row of the table has a list of them there."""
    rows = (row for _, row in lines if not isinstance(row, str))
    if "history" in mapping or any(cells.holds_turns(row.get("history")) for row in rows):
        return mapping
    return {**mapping, "history": ""}


def _convert(lines: Iterator[tables.Line], reader: RowReader) -> Iterator[Entry]:
    for location, row in lines:
        if isinstance(row, str):
            yield location, Rejection(row)
            continue
        try:
            yield location, reader.read(row, location)
        except ValueError as error:
            yield location, Rejection(str(error))


def _table(file: Path, options: ImportOptions, images: Path | None = None, split: str = "train") -> RowStream:
    """The rows of one table; its images are in `images`, else in the folder of the table.

    Each split of `save_to_disk` has a table of the same name. Locations, by which images in cells are known, name both.
    """
    lines = tables.read_table(file, options.turns, options.encoding)
    if images and images.is_dir() and file.parent not in (images, images / "data"):
        name = file.relative_to(images).as_posix()
        lines = ((replace(location, file=name), row) for location, row in lines)
    count = tables.count_rows(file, options.turns, options.encoding)
    root = ImageRoot(options.images or images or file.parent, named=options.images is not None)
    return stream_rows(lines, count, root, options, SOURCE, split)


def _tables_in(folder: Path, options: ImportOptions) -> RowStream:
    """The rows of the tables in a folder: a single one, or one or more for each split."""
    files = table_files.in_folder(folder)
    root = folder / "data" if files[0][0].parent.name == "data" and (folder / "data").is_dir() else folder
    return concatenate([_table(file, options, root, split) for file, split in files])


def _archive(file: Path, options: ImportOptions) -> RowStream:
    """The rows of the tables in a zip archive, whose images are read in place."""
    unpacked = table_files.unpack(file)
    files = table_files.in_folder(Path(unpacked.name))
    parts = concatenate([_table(table, options, file, split) for table, split in files])

    def entries() -> Iterator[Entry]:
        with unpacked:
            yield from parts.entries

    return replace(parts, entries=entries())


def _recognize(folder: Path) -> SourceFormat:
    """The format of a folder. DICOM takes precedence over classes: its folders may have patients' names."""
    if table_files.has_table(folder):
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
    if any(label.encode(errors="replace").decode() != label for label in labels):
        raise DataError("the name of a class folder is not UTF-8", str(folder), "rename it; it becomes an answer")
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
