"""Read a folder with `samples.jsonl`, one question a line, and the images that its lines refer to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lowmed.answer.report import require_words
from lowmed.boxes import Size
from lowmed.data.dataset import DataSet, collect_samples
from lowmed.data.image.files import file_digests, image_problems, open_in, require_folder, unused_images
from lowmed.data.ingest import prepared_folder
from lowmed.data.strata import check_strata, strata_of
from lowmed.errors import DataError
from lowmed.sample import Kind, Sample

FILE = "samples.jsonl"
SHOWN_MISTAKES = 5
_EXAMPLE = '{"id": "1", "images": ["a.png"], "question": "Is there a fracture?", "answer": "no", "kind": "closed"}'


class Row(BaseModel):
    """A line of `samples.jsonl`: the fields of a Sample, and its split."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    id: str
    question: str | None = None
    answer: str | None = None
    kind: Kind
    images: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    group: str | None = None
    explanation: str = ""
    modality: str = ""
    topic: str = ""
    unit: str = ""
    lower: str = ""
    upper: str = ""
    strata: dict[str, str] = Field(default_factory=dict)
    history: tuple[tuple[str, str], ...] = ()
    accepted: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    source: str | None = None
    split: str | None = None


def load(path: str | None, source: str = "folder", *, images: bool = True, flag: str = "data.path") -> DataSet:
    """Read `samples.jsonl` in the folder at `path`, or the `.jsonl` file that `path` names.

    Lines without `group` are grouped by their first image; lines without `split` are all `train`. A line without an
    answer, with an image that does not open, or with a history that cannot be used is rejected. Image files with the
    same content get the same reference, so that a split by image keeps them together.

    Args:
        path: the folder, or another file of the same format in it.
        source: the source's name, for lines that name none.
        images: whether to check that the images open; an audit has its own check.
        flag: the recipe key that names the path, for errors.

    Raises:
        DataError: there is no such file, a line cannot be parsed, or the images are required and the folder was
            prepared without them.
    """
    named = Path(path).expanduser() if path else None
    if named is not None and named.is_file() and named.suffix == ".jsonl":
        folder, file = named.parent, named
    else:
        folder = require_folder(path, source, FILE, flag)
        file = folder / FILE
    if not file.is_file():
        raise DataError(f"no {FILE} in the folder", str(folder), f"write one question a line: {_EXAMPLE}")
    rows = _parse(file)
    check_strata((strata_of(row.strata) for _, row in rows), str(file))
    references = {reference for _, row in rows for reference in row.images}
    card = prepared_folder.data_card(folder)
    problems = _image_problems(folder, card, references) if images else {}
    digests = file_digests(folder, references - problems.keys()) if images and card is None else {}
    copies = _copies(digests)
    splits, rejected = collect_samples(str(folder), iter(rows), partial(_to_sample, folder, source, problems, copies))
    unused = (*(card.unused_images if card else ()), *unused_images(folder, references))
    pixels = prepared_folder.pixel_digests(folder) if card else digests
    tokens = card.max_image_tokens if card else None
    return DataSet(source, splits, rejected, partial(open_in, folder), unused, pixels, tokens, folder=folder)


def _image_problems(folder: Path, card: prepared_folder.DataCard | None, references: Set[str]) -> dict[str, str]:
    """Image reference -> problem. Images of a prepared folder are checked by their digests."""
    if card is None:
        return image_problems(folder, references)
    if not card.has_images:
        raise DataError(
            "the data set was prepared without its images (--text-only)",
            str(folder),
            "it can be audited, not trained on; prepare it again without --text-only",
        )
    return prepared_folder.damaged_images(folder, references)


def _copies(digests: Mapping[str, str]) -> dict[str, str]:
    """The images whose file has the same content as an earlier one by name, with that earlier one."""
    first: dict[str, str] = {}
    earlier = {reference: first.setdefault(digests[reference], reference) for reference in sorted(digests)}
    return {reference: same for reference, same in earlier.items() if same != reference}


def _parse(file: Path) -> list[tuple[str, Row]]:
    rows: list[tuple[str, Row]] = []
    mistakes: list[str] = []
    for number, line in _lines(file):
        try:
            rows.append((f"{file.name}:{number}", Row.model_validate_json(line)))
        except ValidationError as error:
            mistakes += [f"{file.name}:{number}  {_describe(mistake)}" for mistake in error.errors()]
    mistakes += _repeated_ids(rows) + _missing_splits(rows)
    if mistakes:
        shown = "\n         ".join(mistakes[:SHOWN_MISTAKES])
        left = len(mistakes) - SHOWN_MISTAKES
        raise DataError(
            f"{file.name} has {len(mistakes)} mistake{'s'[: len(mistakes) > 1]}",
            f"{file.parent}\n         {shown}" + (f"\n         and {left} more" if left > 0 else ""),
            f"a line looks like {_EXAMPLE}",
        )
    return rows


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name} is not UTF-8 ({error.reason})", str(file), "save it as UTF-8") from error


def _describe(mistake: Mapping[str, object]) -> str:
    field = ".".join(str(part) for part in mistake["loc"]) if isinstance(mistake["loc"], tuple) else ""
    if mistake["type"] == "extra_forbidden":
        return f"`{field}` is not a field; the fields are {', '.join(Row.model_fields)}"
    if field.startswith("history"):
        return f"{field}: `history` is a list of [user text, assistant text], oldest first"
    return f"{field}: {mistake['msg']}" if field else str(mistake["msg"])


def _repeated_ids(rows: list[tuple[str, Row]]) -> list[str]:
    counts = Counter(row.id for _, row in rows)
    return [f"{where}  id `{row.id}` is used {counts[row.id]} times" for where, row in rows if counts[row.id] > 1]


def _missing_splits(rows: list[tuple[str, Row]]) -> list[str]:
    """Lines without a split among lines with one: they may belong to training or to the test split."""
    without = [where for where, row in rows if row.split is None]
    return [f"{where}  no `split`, though other lines have one" for where in without if len(without) < len(rows)]


def _to_sample(
    folder: Path, source: str, problems: Mapping[str, str], copies: Mapping[str, str], row: Row
) -> tuple[str, Sample]:
    for reference in row.images:
        if reference in problems:
            raise ValueError(problems[reference])
    if row.history and not row.images and not row.group:
        raise ValueError("no `group`; a history without images needs one, which keeps the conversation together")
    if row.kind == "report":
        require_words(row.answer or "")
    images = tuple(copies.get(reference, reference) for reference in row.images)
    return row.split or "train", Sample(
        id=row.id,
        question=row.question or "",
        answer=row.answer or "",
        kind=row.kind,
        group=row.group or (images[0] if images else row.id),
        source=row.source or source,
        images=images,
        options=row.options,
        explanation=row.explanation,
        modality=row.modality,
        topic=row.topic,
        unit=row.unit,
        lower=row.lower,
        upper=row.upper,
        strata=strata_of(row.strata),
        history=row.history,
        accepted=row.accepted,
        image_size=row.image_size or (_size_in(folder, images) if row.kind == "boxes" else (0, 0)),
    )


def _size_in(folder: Path, images: tuple[str, ...]) -> Size:
    """Width and height of the first image."""
    if not images:
        raise ValueError("boxes need an image")
    return open_in(folder, images[0]).size
