"""The files of a folder that `lowmed data prepare` wrote."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lowmed.data.dataset import RejectedRow
from lowmed.data.image.files import locate
from lowmed.data.ingest import source_names
from lowmed.data.ingest.image_store import StoredFile
from lowmed.errors import DataError
from lowmed.files import load_json, read_jsonl, require_format
from lowmed.sample import Sample

SAMPLES, REJECTED, IMAGES, CARD = "samples.jsonl", "rejected.jsonl", "images.jsonl", "card.json"
PROGRESS = "progress.jsonl"  # the lines of IMAGES while a run is in progress
FORMAT = 1
_OWN = re.compile(
    r"(samples|rejected|images|progress|keys)\.jsonl|(card|shard)\.json|images|lock|audit(\..+)?\.(json|html)|show\.html"
    r"|samples\.by-(image|patient)\.jsonl|\..+\.tmp|\.DS_Store"
)
_LEFT_OUT = ("strata", "history", "accepted")  # of a line, if they are empty


class ImageNotes(BaseModel):
    """What a person should know about the stored images.

    Attributes:
        blank: images that show one value, or nearly.
        partly_used: source files with frames that no stored image shows.
        unused_frames: these frames.
    """

    model_config = ConfigDict(frozen=True)

    blank: int = 0
    partly_used: int = 0
    unused_frames: int = 0


class DataCard(BaseModel):
    """`card.json`: where the data come from and how they were imported.

    Attributes:
        format: version of this file's format.
        source: name of the known source, hub id, or `own`.
        license: the license of a known source; "" if unknown.
        citation: the publication of a known source.
        url: the page of a known source.
        rows: rows by split.
        kinds: rows by kind.
        images: number of distinct stored images.
        has_images: False if rows refer to images that were left out by `--text-only`.
        max_image_tokens: the pixel policy that the images were stored with.
        frames: which frames of a file were stored.
        window: the CT window; None for the file's own.
        plane: the plane of the slices of volumes.
        image_notes: blank images and unused frames.
        mask_text: whether text in the images was covered.
        rejected: rejected rows by reason.
        notes: imported rows by what was changed in them, or left out.
        unused_images: image files of a known source that no row refers to, by digests of their names.
        samples_sha256: digest of `samples.jsonl`.
        lowmed: the version that wrote the folder.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    source: str
    license: str = ""
    citation: str = ""
    url: str = ""
    rows: dict[str, int]
    kinds: dict[str, int]
    images: int
    has_images: bool
    max_image_tokens: int
    frames: str
    window: str | None
    plane: str = "axial"
    image_notes: ImageNotes = ImageNotes()
    mask_text: bool = False
    rejected: dict[str, int]
    notes: dict[str, int] = {}
    unused_images: tuple[str, ...] = ()
    samples_sha256: str
    lowmed: str


def other_files(folder: Path) -> list[str]:
    """The names of files and folders in a data set that no command of lowmed writes there."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if not _OWN.fullmatch(name)]


def data_card(folder: Path) -> DataCard | None:
    """The card of a prepared folder; None if the folder was not prepared.

    Raises:
        DataError: the card is damaged, or a newer version of lowmed wrote it.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        content = load_json(path)
    except ValueError as error:
        raise DataError("the card is not JSON", str(path), "run `lowmed data prepare` again") from error
    if not isinstance(content, dict) or "format" not in content:
        return None  # another program's card.json
    require_format(content, FORMAT, path, error=DataError)
    try:
        return DataCard.model_validate(content)
    except ValidationError as error:
        fields = ", ".join(str(mistake["loc"][0]) for mistake in error.errors() if mistake["loc"])
        raise DataError(
            f"the card is damaged: {fields} missing or wrong", str(path), "run `lowmed data prepare` again"
        ) from error


def sample_line(sample: Sample, split: str) -> dict[str, Any]:
    """A sample as a line of `samples.jsonl`; strata, history and accepted answers are left out where there are none."""
    fields = {name: getattr(sample, name) for name in Sample.__dataclass_fields__}
    del fields["box_grid"]  # of a model
    if sample.kind != "boxes":
        del fields["image_size"]
    line = {**fields, "strata": dict(sample.strata), "split": split}
    return {name: value for name, value in line.items() if value or name not in _LEFT_OUT}


def samples_digest(file: Path) -> str:
    """The SHA-256 of a file of samples, as the card and the audit record it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def stored_files(folder: Path, name: str = IMAGES) -> Iterator[tuple[str, StoredFile]]:
    """The digest of the import settings and the record of each image file; a truncated last line is left out."""
    path = folder / name
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                row = json.loads(line)
                yield row.pop("settings"), _stored_file(row)
            except (ValueError, KeyError, TypeError):
                return  # the process was killed while it wrote this line, so no other line follows


def rejected_rows(folder: Path) -> tuple[RejectedRow, ...]:
    """The rows that import rejected, in order; with names of files and whole reasons where this machine has them."""
    names, reasons = source_names.read_names(folder), source_names.read_reasons(folder)
    rows = [(row["file"], row["line"], row["reason"]) for row in _rejected(folder)]
    return tuple(
        RejectedRow(
            names.get(file, file) if line is None else f"{names.get(file, file)}:{line}",
            reasons.get((file, line, reason), reason),
        )
        for file, line, reason in rows
    )


def rejected_files(folder: Path) -> set[str]:
    """The names of source files with rejected rows, in a folder that an earlier version wrote."""
    return {str(row["file"]) for row in _rejected(folder) if not source_names.is_digest(str(row["file"]))}


def _rejected(folder: Path) -> list[dict[str, Any]]:
    return read_jsonl(folder / REJECTED, fix="run `lowmed data prepare` again")


def known_files(settings: str, *folders: Path) -> dict[str, tuple[StoredFile, Path]]:
    """Image files that earlier runs stored with these settings, by digest, and the folder that contains them."""
    return {
        stored.file: (stored, folder)
        for folder in folders
        for name in (IMAGES, PROGRESS)
        for digest, stored in stored_files(folder, name)
        if digest == settings
    }


def image_notes(stored: Iterable[StoredFile]) -> ImageNotes:
    """Count blank images and unused frames."""
    files = list(stored)
    blank = {image for file in files for image, empty in zip(file.images, file.blank, strict=False) if empty}
    unused = [file.unused for file in files if file.unused]
    return ImageNotes(blank=len(blank), partly_used=len(unused), unused_frames=sum(unused))


def damaged_images(folder: Path, references: Iterable[str]) -> dict[str, str]:
    """The images that are missing or changed. Their names are digests, so that none need be decoded."""
    problems = {}
    for reference in sorted(set(references)):
        try:
            content = locate(folder, reference).read_bytes()
        except DataError as error:
            problems[reference] = error.what
            continue
        if hashlib.sha256(content).hexdigest()[:20] != PurePosixPath(reference).stem:
            problems[reference] = "the image file was changed after it was stored"
    return problems


def pixel_digests(folder: Path) -> dict[str, str]:
    """Image reference -> digest of the original pixels; the smallest one if several files gave one stored image."""
    digests: dict[str, str] = {}
    for _, stored in stored_files(folder):
        for reference, pixels in zip(stored.images, stored.pixels, strict=False):
            digests[reference] = min(pixels, digests.get(reference, pixels))
    return digests


def _stored_file(row: dict[str, Any]) -> StoredFile:
    sizes = tuple((width, height) for width, height in row.pop("sizes"))
    masked = tuple(tuple((a, b, c, d) for a, b, c, d in boxes) for boxes in row.pop("masked", ()))
    images, pixels, blank = (tuple(row.pop(name, ())) for name in ("images", "pixels", "blank"))
    return StoredFile(images=images, pixels=pixels, sizes=sizes, blank=blank, masked=masked, **row)
