"""Shards of an import: n processes store the images of a source, each a part of them, and a last one builds the folder.

Every shard reads all rows and stores the images whose names fall to it. The merge is the ordinary import, which finds
the images stored: so its result is that of an import without shards, to the byte.
"""

import hashlib
import os
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lowmed import __version__
from lowmed.data.image.files import locate
from lowmed.data.ingest import prepared_folder
from lowmed.data.ingest.image_pipeline import IN_FLIGHT, ImagePipeline
from lowmed.data.ingest.image_store import ImageStoreSettings, StoredFile
from lowmed.data.ingest.raw_sample import Entry, ImageBytes, ImageFile, ImageSource, RawSample
from lowmed.errors import DataError, RecipeError
from lowmed.files import load_json, read_jsonl, require_format, to_jsonl

RECORD, KEYS = "shard.json", "keys.jsonl"
FORMAT = 1
AGAIN = "run `lowmed data prepare --shard` again"


class ShardRecord(BaseModel):
    """`shard.json`: which part of which source the folder holds.

    Attributes:
        format: version of this file's format.
        number: the number of the shard, from 1.
        of: how many there are.
        settings: digest of how images are stored, and of the salt of pseudonyms.
        rows_sha256: digest of all rows of the source as they were read, the same in every shard.
        files: image files that are stored here.
        unusable: image files of this shard that cannot be used; the merge rejects their rows.
        lowmed: the version that wrote the folder.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    number: int
    of: int
    settings: str
    rows_sha256: str
    files: int
    unusable: int
    lowmed: str


@dataclass(frozen=True)
class Shard:
    """Number `number` of `of` shards, from 1."""

    number: int
    of: int

    def holds(self, image: ImageSource) -> bool:
        """Whether the image belongs to this shard; an image of several rows is in one shard."""
        return zlib.crc32(image.name.encode(errors="surrogatepass")) % self.of == self.number - 1


def parse_shard(text: str) -> Shard:
    """The value of --shard.

    Raises:
        RecipeError: it is not i/n with 1 <= i <= n.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise RecipeError(f"`{text}` is not a shard", "--shard", "write i/n, from 1/n to n/n, e.g. --shard 1/4")
    return Shard(number, of)


@dataclass
class DigestedRows:
    """The rows of a source, whose digest is complete when all are read."""

    entries: Iterable[Entry]
    digest: Any = field(default_factory=hashlib.sha256)

    def __iter__(self) -> Iterator[Entry]:
        for location, entry in self.entries:
            images = [_named(image) for image in entry.images] if isinstance(entry, RawSample) else []
            texts = _without_images(entry) if isinstance(entry, RawSample) else entry
            self.digest.update(f"{location}\0{texts!r}\0{images}\n".encode(errors="surrogatepass"))
            yield location, entry


@dataclass(frozen=True)
class Shards:
    """All shards of a source.

    Attributes:
        folders: their folders.
        rows_sha256: the digest of the source's rows.
        files: digest of the source file by the key of its name, size and time.
    """

    folders: tuple[Path, ...]
    rows_sha256: str
    files: dict[str, str]

    def digest_of(self, image: ImageSource, salt: bytes) -> str | None:
        """The digest of the file as its shard read it; None if it must be read."""
        key = key_of(image, salt)
        return self.files.get(key) if key else None

    def check_images(self, folder: Path, used: Iterable[StoredFile]) -> None:
        """Refuse images that were changed in a shard, for example by a copy that was cut off.

        Raises:
            DataError: the content of an image is not that of its name.
        """
        references = (reference for stored in used for reference in stored.images)
        if damaged := prepared_folder.damaged_images(folder, references):
            what = f"{len(damaged):,} images of the shards were changed after they were stored"
            raise DataError(what, next(iter(damaged)), "copy the shards again, or prepare them again")

    def check(self, rows: DigestedRows) -> None:
        """Refuse a source that is not that of the shards, once all its rows are read.

        Raises:
            DataError: the rows differ.
        """
        if rows.digest.hexdigest() != self.rows_sha256:
            what = "the shards are of another source, or were read with other options"
            raise DataError(what, str(self.folders[0]), "use the same SOURCE and options, or prepare the shards again")


def store_shard(
    entries: Iterable[Entry],
    folder: Path,
    out: Path,
    settings: ImageStoreSettings,
    shard: Shard,
    *,
    cores: int | None,
    advance: Any,
) -> ShardRecord:
    """Store the images of a shard, reusing those that an earlier run stored.

    Args:
        entries: all rows of the source.
        folder: the folder to build in.
        out: the folder of an earlier run, if any.
        settings: how images are stored.
        shard: the part.
        cores: threads; None for one a core.
        advance: called with the number of rows done and a note.
    """
    rows, keys, unusable = DigestedRows(entries), dict[str, str](), 0
    known = prepared_folder.known_files(settings.digest, out, folder)
    waiting: deque[tuple[str | None, Any]] = deque()
    submitted: set[str] = set()
    with (
        ThreadPoolExecutor(cores or os.cpu_count() or 1) as pool,
        (folder / prepared_folder.PROGRESS).open("a", encoding="utf-8") as progress,
    ):
        pipeline = ImagePipeline(pool, folder, settings, known, progress, images=True)

        def finish_oldest() -> int:
            key, job = waiting.popleft()
            try:
                stored: StoredFile = pipeline.result(job)
            except ValueError:
                return 1
            pipeline.used[stored.file] = stored
            if key:
                keys[key] = stored.file
            return 0

        for number, (_, entry) in enumerate(rows, start=1):
            for image in entry.images if isinstance(entry, RawSample) else ():
                if shard.holds(image) and image.name not in submitted:
                    submitted.add(image.name)
                    waiting.append((key_of(image, settings.salt), pipeline.submit(image)))
            while len(waiting) > IN_FLIGHT:
                unusable += finish_oldest()
            advance(number, f"{len(submitted)} images")
        while waiting:
            unusable += finish_oldest()
    files = len(pipeline.finish())
    lines = ({"key": key, "file": file} for key, file in sorted(keys.items()))
    (folder / KEYS).write_text(to_jsonl(lines), encoding="utf-8")
    record = ShardRecord(
        number=shard.number,
        of=shard.of,
        settings=settings.digest,
        rows_sha256=rows.digest.hexdigest(),
        files=files,
        unusable=unusable,
        lowmed=__version__,
    )
    (folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def open_shards(folders: Sequence[Path], settings: ImageStoreSettings) -> Shards:
    """All shards of one source, stored with these settings.

    Raises:
        DataError: a folder is not a shard, one is missing or given twice, or they do not belong together.
    """
    records = {folder: _record(folder) for folder in folders}
    if len(records) < len(folders):
        raise DataError("a shard is given twice", _shown(folders), "name each folder once")
    first, *_ = records.values()
    by_number: dict[int, Path] = {}
    for folder, record in records.items():
        if record.settings != settings.digest:
            what = "the shard was stored with other options, or on a machine with another salt of pseudonyms"
            fix = "prepare it with the options of this command, and with the same file lowmed/salt in $XDG_CONFIG_HOME"
            raise DataError(what, str(folder), fix)
        if (record.of, record.rows_sha256) != (first.of, first.rows_sha256):
            what = "the shards are not of one source, read with the same options and the same number of shards"
            raise DataError(what, f"{folders[0]} and {folder}", AGAIN)
        if (other := by_number.setdefault(record.number, folder)) != folder:
            raise DataError(f"shard {record.number}/{record.of} is given twice", f"{other} and {folder}", AGAIN)
    if missing := [f"{number}/{first.of}" for number in range(1, first.of + 1) if number not in by_number]:
        raise DataError(f"missing: shard {', '.join(missing[:8])}", _shown(folders), "name all of them with --merge")
    files = {key: file for folder in folders for key, file in _keys(folder / KEYS)}
    return Shards(tuple(folders), first.rows_sha256, files)


def key_of(image: ImageSource, salt: bytes) -> str | None:
    """A key of the name, size and time of an image file, with the salt; None for other images, which are read."""
    if not isinstance(image, ImageFile):
        return None
    try:
        status = locate(image.folder, image.name).stat()
    except (DataError, OSError):
        return None
    text = f"{image.name}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.blake2b(text.encode(errors="surrogatepass"), key=salt[:64], digest_size=16).hexdigest()


def _record(folder: Path) -> ShardRecord:
    path = folder / RECORD
    if not path.is_file():
        raise DataError("this is not a shard", str(folder), "name folders of `lowmed data prepare --shard`")
    try:
        content = load_json(path)
        require_format(content, FORMAT, path, error=DataError)
        return ShardRecord.model_validate(content)
    except (ValueError, ValidationError) as error:
        raise DataError("the record of the shard is damaged", str(path), AGAIN) from error


def _keys(path: Path) -> Iterator[tuple[str, str]]:
    for row in read_jsonl(path, fix=AGAIN) if path.is_file() else ():
        if not (isinstance(row.get("key"), str) and isinstance(row.get("file"), str)):
            raise DataError("a line of the shard is damaged", str(path), AGAIN)
        yield row["key"], row["file"]


def _shown(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders[:8]))


def _named(image: ImageSource) -> str:
    return f"{image.name} {len(image.content)}" if isinstance(image, ImageBytes) else image.name


def _without_images(entry: RawSample) -> list[Any]:
    return [getattr(entry, name) for name in RawSample.__dataclass_fields__ if name != "images"]
