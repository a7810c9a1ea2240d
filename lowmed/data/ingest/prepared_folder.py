"""A folder that `lowmed data prepare` wrote: its files by name, and what they say."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lowmed.data.image.files import locate
from lowmed.data.ingest.image_store import StoredFile
from lowmed.errors import DataError

SAMPLES, REJECTED, IMAGES, CARD = "samples.jsonl", "rejected.jsonl", "images.jsonl", "card.json"
PROGRESS = "progress.jsonl"  # IMAGES while a run is on its way


def data_card(folder: Path) -> dict[str, Any] | None:
    """The card of a prepared folder, None where the folder was not prepared.

    Raises:
        DataError: the card cannot be read.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError("the card is not JSON", str(path), "run `lowmed data prepare` again") from error
    return result if isinstance(result, dict) and "format" in result else None


def stored_files(folder: Path, name: str = IMAGES) -> Iterator[tuple[str, StoredFile]]:
    """What is known of each image file, after the digest of the settings it was stored with; whole lines only."""
    path = folder / name
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                row = json.loads(line)
                yield row.pop("settings"), _stored(row)
            except (ValueError, KeyError, TypeError):
                return  # a line that a kill cut short; nothing can follow it


def rejected_files(folder: Path) -> set[str]:
    """The files that `rejected.jsonl` names, as they were called."""
    path = folder / REJECTED
    if not path.is_file():
        return set()
    return {str(json.loads(line)["file"]) for line in path.read_text(encoding="utf-8").splitlines()}


def known_files(settings: str, *folders: Path) -> dict[str, tuple[StoredFile, Path]]:
    """Image files that earlier runs stored with these settings, by digest, and the folder that has them."""
    return {
        stored.file: (stored, folder)
        for folder in folders
        for name in (IMAGES, PROGRESS)
        for digest, stored in stored_files(folder, name)
        if digest == settings
    }


def damaged_images(folder: Path, references: Iterable[str]) -> dict[str, str]:
    """The images that are missing or no longer what was stored, which their names tell without decoding them."""
    result = {}
    for reference in sorted(set(references)):
        try:
            content = locate(folder, reference).read_bytes()
        except DataError as error:
            result[reference] = error.what
            continue
        if hashlib.sha256(content).hexdigest()[:20] != PurePosixPath(reference).stem:
            result[reference] = "the image file is not what was stored"
    return result


def _stored(row: dict[str, Any]) -> StoredFile:
    sizes = tuple((width, height) for width, height in row.pop("sizes"))
    return StoredFile(images=tuple(row.pop("images")), pixels=tuple(row.pop("pixels")), sizes=sizes, **row)
