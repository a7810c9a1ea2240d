"""Store images in parallel, each once, and yield rows in their order when their images are stored."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from lowmed.data.group_split import IMAGE_GROUP
from lowmed.data.image.dicom import pseudonym
from lowmed.data.image.policy import PixelPolicy, target_size
from lowmed.data.ingest import image_store, prepared_folder
from lowmed.data.ingest.boxes import fit_boxes, gold_boxes, has_boxes
from lowmed.data.ingest.image_store import ImageStoreSettings, StoredFile
from lowmed.data.ingest.placeholders import expand
from lowmed.data.ingest.raw_sample import Entry, ImageBytes, ImageSource, RawSample, Rejection, RowLocation
from lowmed.errors import DataError
from lowmed.files import to_jsonl
from lowmed.sample import Sample

SAME_ID, SAME_ROW = "an earlier row has the same id", "an earlier row has the same images, question and answer"
IN_FLIGHT = 64  # rows whose images are being stored; bounds the memory
OWN = "own"  # `Sample.source` of a user's data
SHORTEST_NAME = 4  # characters of a file name that an id must contain to identify the file
StoreJob = Future[StoredFile | str]  # a text states why the image cannot be used


class ImagePipeline:
    """The images that are being stored, each once."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        folder: Path,
        settings: ImageStoreSettings,
        known: dict[str, tuple[StoredFile, Path]],
        progress: IO[str],
        images: bool,
        digest_of: Callable[[ImageSource], str | None] = lambda _image: None,
    ) -> None:
        """Set up the pipeline.

        Args:
            pool: the threads that store images.
            folder: the folder that is being built.
            settings: how images are stored.
            known: files that earlier runs stored, by digest, and the folder that contains them.
            progress: gets a line for each stored file, so that a killed run can continue.
            images: False stores no image and makes references from file names.
            digest_of: the digest of an image's file, if it is known without reading it.
        """
        self.pool, self.folder, self.settings, self.known = pool, folder, settings, known
        self.progress, self.images, self.digest_of = progress, images, digest_of
        self.jobs: dict[ImageSource | str, StoreJob] = {}
        self.used: dict[str, StoredFile] = {}
        self.first: dict[str, str] = {}
        self.written: set[str] = set()

    def submit(self, image: ImageSource) -> StoreJob:
        """Start to store an image, or return the job that already does."""
        key = image.name if isinstance(image, ImageBytes) else image  # the key must not keep the image's bytes alive
        if key not in self.jobs:
            self.jobs[key] = self.pool.submit(self._store, image)
        return self.jobs[key]

    def _store(self, image: ImageSource) -> StoredFile | str:
        if not self.images:
            # With the salt, because names of files may be names of patients.
            digest = hashlib.blake2b(image.name.encode(errors="surrogatepass"), key=self.settings.salt[:64]).hexdigest()
            return StoredFile(digest, (f"{image_store.FOLDER}/{digest[:20]}.png",), (), ())
        try:
            return image_store.store_file(image, self.settings, self.folder, self.known, self.digest_of(image))
        except DataError as error:
            return error.what

    def result(self, job: StoreJob) -> StoredFile:
        """Wait for a job.

        Raises:
            ValueError: the image cannot be used.
        """
        stored = job.result()
        if isinstance(stored, str):
            raise ValueError(stored)
        if stored.file not in self.written:
            self.written.add(stored.file)
            self.known.setdefault(stored.file, (stored, self.folder))
            self.progress.write(to_jsonl([{"settings": self.settings.digest, **stored.record}]))
        return stored

    def use(self, stored: list[StoredFile], location: RowLocation) -> None:
        """Keep the images of a row; `first` names the first row with a blank image, or with unused frames."""
        for file in stored:
            self.used[file.file] = file
            if any(file.blank):
                self.first.setdefault("blank", str(location))
            if file.unused:
                self.first.setdefault("unused", str(location))

    def finish(self) -> list[StoredFile]:
        """Write the records of the used files, delete the images that no row uses, and return the records."""
        used = sorted(self.used.values(), key=lambda stored: stored.file)
        with (self.folder / prepared_folder.IMAGES).open("w", encoding="utf-8") as file:
            file.write(to_jsonl({"settings": self.settings.digest, **stored.record} for stored in used))
        (self.folder / prepared_folder.PROGRESS).unlink()
        used_names = {PurePosixPath(reference).name for stored in used for reference in stored.images}
        for path in (self.folder / image_store.FOLDER).iterdir():
            if path.name not in used_names:
                path.unlink()
        return used


def run_pipeline(
    entries: Iterable[Entry], pipeline: ImagePipeline
) -> Iterator[tuple[RowLocation, Sample | None, str, str, tuple[str, ...]]]:
    """Yield location, sample, split, "" and notes for each row in order; for a rejected row None, "" and the reason."""
    waiting: deque[tuple[RowLocation, RawSample | Rejection, list[StoreJob]]] = deque()
    ids: set[str] = set()

    def finish_oldest() -> tuple[RowLocation, Sample | None, str, str, tuple[str, ...]]:
        location, entry, jobs = waiting.popleft()
        try:
            if isinstance(entry, Rejection):
                raise ValueError(entry.reason)
            stored = [pipeline.result(job) for job in jobs]
            sample = _to_sample(_with_boxes(entry, stored, pipeline.settings.policy), stored, pipeline.settings.salt)
            if sample.id in ids:
                raise ValueError(SAME_ID if entry.id else SAME_ROW)
        except ValueError as error:
            return location, None, "", str(error), ()
        ids.add(sample.id)
        pipeline.use(stored, location)
        return location, sample, entry.split, "", entry.notes

    for location, entry in entries:
        images = entry.images if isinstance(entry, RawSample) else ()
        jobs = [pipeline.submit(image) for image in images]
        waiting.append((location, entry if isinstance(entry, Rejection) else _without_content(entry), jobs))
        while len(waiting) > IN_FLIGHT:
            yield finish_oldest()
    while waiting:
        yield finish_oldest()


def _without_content(raw: RawSample) -> RawSample:
    images = (replace(image, content=b"") if isinstance(image, ImageBytes) else image for image in raw.images)
    return replace(raw, images=tuple(images))


def _with_boxes(raw: RawSample, stored: list[StoredFile], policy: PixelPolicy) -> RawSample:
    """The row with boxes in pixels: of the original image for the kind `boxes`, of the stored images inside a text.

    Raises:
        ValueError: as `gold_boxes` or `fit_boxes`, or boxes without an image.
    """
    if raw.kind == "boxes":
        return replace(raw, answer=gold_boxes(raw.answer, raw.boxes, _original_size(stored)))
    if not has_boxes(raw.question, raw.answer):
        return raw
    sizes = [(size, target_size(*size, policy)) for file in stored for size in file.sizes]
    question, answer, *accepted = fit_boxes([raw.question, raw.answer, *raw.accepted], raw.question, raw.boxes, sizes)
    return replace(raw, question=question, answer=answer, accepted=tuple(accepted))


def _original_size(stored: list[StoredFile]) -> tuple[int, int]:
    """Width and height of the first image of a row before it was resized."""
    if not stored or not stored[0].sizes:
        raise ValueError("boxes need an image, and its size (do not use --text-only)")
    return stored[0].sizes[0]


def _to_sample(raw: RawSample, stored: list[StoredFile], salt: bytes) -> Sample:
    images = tuple(reference for file in stored for reference in file.images)
    counts = iter([len(file.images) for file in stored])
    earlier = tuple((expand(user, counts), assistant) for user, assistant in raw.history)
    question = expand(raw.question, counts)
    modality = next((file.modality for file in stored if file.modality), "")
    if raw.answer_is_modality and not modality:
        raise ValueError("the file names no known modality, which would be the answer")
    answer = raw.answer or (modality if raw.answer_is_modality else "")
    patient = next((file.patient for file in stored if file.patient), "")
    # Ids and groups are made from the original pixels, so that they are the same under every pixel policy.
    pixels = tuple(digest for file in stored for digest in file.pixels or (file.file,))
    history = ("history", *(text for turn in raw.history for text in turn)) if raw.history else ()
    content = "\0".join((raw.split, *pixels, raw.question, answer, *raw.options, *history))
    image_group = f"{IMAGE_GROUP}{pixels[0][:20]}" if pixels else ""
    source_id = pseudonym(raw.id, salt) if _names_a_file(raw) else raw.id
    sample_id = source_id or hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:12]
    return Sample(
        id=sample_id,
        question=question,
        answer=answer,
        kind=raw.kind,
        group=(pseudonym(raw.group, salt) if raw.group else patient) or image_group or raw.conversation or sample_id,
        source=raw.source,
        images=images,
        options=raw.options,
        explanation=raw.explanation,
        modality=raw.modality or modality,
        topic=raw.topic or next((file.view for file in stored if file.view), ""),
        unit=raw.unit,
        lower=raw.lower,
        upper=raw.upper,
        strata=raw.strata,
        history=earlier,
        accepted=raw.accepted,
        image_size=_original_size(stored) if raw.kind == "boxes" else (0, 0),
    )


def _names_a_file(raw: RawSample) -> bool:
    """Whether the id contains the name of an image file, which may be a patient's name, or the patient's own.

    In a user's own data the names of the file's folders count too; known sources have folders such as `train`.
    """
    files = [image for image in raw.images if not isinstance(image, ImageBytes)]
    paths = [PurePosixPath(image.name.replace("\\", "/")).with_suffix("") for image in files]
    own = raw.source == OWN
    names = [raw.group] * own + [part for path in paths for part in (path.parts if own else (path.name,))]
    return any(len(name) >= SHORTEST_NAME and name.casefold() in raw.id.casefold() for name in names)
