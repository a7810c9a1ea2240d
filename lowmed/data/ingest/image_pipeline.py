"""Images stored in parallel, each once, and rows handed on in their order when their images are done."""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lowmed.data.image.dicom import pseudonym
from lowmed.data.ingest import image_store, prepared_folder
from lowmed.data.ingest.raw_sample import Entry, ImageBytes, ImageFile, ImageSource, RawSample, Rejection, RowLocation
from lowmed.errors import DataError
from lowmed.sample import Sample

SAME_ID, SAME_ROW = "an earlier row has the same id", "an earlier row has the same images, question and answer"
IN_FLIGHT = 64  # rows whose images are being worked on; bounds the memory
SHORTEST_NAME = 4  # characters of a file's name that make an id tell of it


class ImagePipeline:
    """The images that are being stored, each once, and the rows that wait for them."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        folder: Path,
        settings: image_store.ImageStoreSettings,
        known: dict[str, tuple[image_store.StoredFile, Path]],
        progress: IO[str],
        images: bool,
    ) -> None:
        self.pool, self.folder, self.settings, self.known = pool, folder, settings, known
        self.progress, self.images = progress, images
        self.jobs: dict[ImageSource | str, Future[image_store.StoredFile | str]] = {}
        self.used: dict[str, image_store.StoredFile] = {}
        self.written: set[str] = set()

    def begin(self, image: ImageSource) -> "Future[image_store.StoredFile | str]":
        """Start on an image, or join the work on it."""
        key = image.name if isinstance(image, ImageBytes) else image  # a key must not hold the image's bytes
        if key not in self.jobs:
            self.jobs[key] = self.pool.submit(self._store, image)
        return self.jobs[key]

    def _store(self, image: ImageSource) -> image_store.StoredFile | str:
        if not self.images:
            named = hashlib.sha256(image.name.encode()).hexdigest()
            return image_store.StoredFile(named, (f"{image_store.FOLDER}/{named[:20]}.png",), (), ())
        try:
            return image_store.store_file(image, self.settings, self.folder, self.known)
        except DataError as error:
            return error.what

    def result(self, job: "Future[image_store.StoredFile | str]") -> image_store.StoredFile:
        """What became of an image.

        Raises:
            ValueError: it cannot be used.
        """
        stored = job.result()
        if isinstance(stored, str):
            raise ValueError(stored)
        if stored.file not in self.written:
            self.written.add(stored.file)
            self.known.setdefault(stored.file, (stored, self.folder))
            write_line(self.progress, {"settings": self.settings.digest, **stored.record})
        return stored

    def finish(self) -> list[image_store.StoredFile]:
        """Write what is known of the files, drop the images that no row uses, and return the former."""
        used = sorted(self.used.values(), key=lambda stored: stored.file)
        lines = ({"settings": self.settings.digest, **stored.record} for stored in used)
        with (self.folder / prepared_folder.IMAGES).open("w", encoding="utf-8") as written:
            for line in lines:
                write_line(written, line)
        (self.folder / prepared_folder.PROGRESS).unlink()
        wanted = {PurePosixPath(reference).name for stored in used for reference in stored.images}
        for path in (self.folder / image_store.FOLDER).iterdir():
            if path.name not in wanted:
                path.unlink()
        return used


def run_pipeline(
    entries: Iterable[Entry], work: ImagePipeline
) -> Iterator[tuple[RowLocation, Sample | None, str, str]]:
    """Each row in its order, as soon as its images are stored: the sample and its split, or why there is none."""
    waiting: deque[tuple[RowLocation, RawSample | Rejection, list[Future[image_store.StoredFile | str]]]] = deque()
    ids: set[str] = set()

    def oldest() -> tuple[RowLocation, Sample | None, str, str]:
        where, entry, jobs = waiting.popleft()
        try:
            if isinstance(entry, Rejection):
                raise ValueError(entry.reason)
            stored = [work.result(job) for job in jobs]
            sample = _sample(entry, stored, work.settings.salt)
            if sample.id in ids:
                raise ValueError(SAME_ID if entry.id else SAME_ROW)
        except ValueError as error:
            return where, None, "", str(error)
        ids.add(sample.id)
        work.used |= {each.file: each for each in stored}
        return where, sample, entry.split, ""

    for where, entry in entries:
        images = entry.images if isinstance(entry, RawSample) else ()
        jobs = [work.begin(image) for image in images]
        bare = entry if isinstance(entry, Rejection) else _without_content(entry)
        waiting.append((where, bare, jobs))
        while len(waiting) > IN_FLIGHT:
            yield oldest()
    while waiting:
        yield oldest()


def _without_content(draft: RawSample) -> RawSample:
    images = (replace(each, content=b"") if isinstance(each, ImageBytes) else each for each in draft.images)
    return replace(draft, images=tuple(images))


def _sample(draft: RawSample, stored: list[image_store.StoredFile], salt: bytes) -> Sample:
    images = tuple(reference for each in stored for reference in each.images)
    modality = next((each.modality for each in stored if each.modality), "")
    if draft.asks_modality and not modality:
        raise ValueError("the file says no known modality, so that there is nothing to ask")
    answer = draft.answer or (modality if draft.asks_modality else "")
    patient = next((each.patient for each in stored if each.patient), "")
    content = "\0".join((draft.split, *images, draft.question, answer, *draft.options))
    given = pseudonym(draft.id, salt) if _tells_a_file(draft) else draft.id
    made = given or hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:12]
    return Sample(
        id=made,
        question=draft.question,
        answer=answer,
        kind=draft.kind,
        group=(pseudonym(draft.group, salt) if draft.group else patient) or (images[0] if images else made),
        source=draft.source,
        images=images,
        options=draft.options,
        explanation=draft.explanation,
        modality=draft.modality or modality,
        topic=draft.topic or next((each.view for each in stored if each.view), ""),
    )


def _tells_a_file(draft: RawSample) -> bool:
    """Whether the id repeats the name of a file, which may be a patient's."""
    names = (PurePosixPath(each.name.replace("\\", "/")).stem for each in draft.images if isinstance(each, ImageFile))
    return any(len(name) >= SHORTEST_NAME and name.casefold() in draft.id.casefold() for name in names)


def write_line(file: IO[str], row: dict[str, Any]) -> None:
    """One JSON object as a line."""
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
