"""Rows and pictures of any source into one folder that every recipe accepts.

The folder holds `samples.jsonl` (one Sample a line, with its split), `rejected.jsonl` (what was kept out, and why),
`images/`, `images.jsonl` (what is known of each picture's file) and `card.json`. It is built aside and moved into
place when it is whole.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lowmed import __version__
from lowmed.data import prepared, store
from lowmed.data.dicom import digest
from lowmed.data.draft import Draft, Entry, FileIn, InMemory, Picture, Refusal, Where
from lowmed.errors import DataError, LowmedError
from lowmed.sample import Sample

FORMAT = 1
SAME_ID, SAME_ROW = "an earlier row has the same id", "an earlier row has the same images, question and answer"
SHOWN_REASONS = 8
IN_FLIGHT = 64  # rows whose pictures are being worked on; bounds the memory
SHORTEST_NAME = 4  # characters of a file's name that make an id tell of it
Advance = Callable[[int, str], None]


@dataclass
class Tally:
    """What became of the rows."""

    splits: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows that are in the data set."""
        return self.splits.total()

    @property
    def rejected_share(self) -> float:
        """Rejected rows over all rows."""
        rejected = self.reasons.total()
        return rejected / (self.rows + rejected) if rejected else 0.0


def prepare(
    entries: Iterable[Entry],
    out: Path,
    settings: store.Settings,
    about: dict[str, Any],
    *,
    pictures: bool = True,
    max_rejected: float = 0.05,
    cores: int | None = None,
    advance: Advance = lambda done, note: None,
) -> Tally:
    """Build the folder `out`, reusing what an earlier run of the same settings left there.

    `about` goes into the card; without `pictures` only the texts are kept, which can be audited but not trained on.

    Raises:
        DataError: no row is left, or more than `max_rejected` of them are rejected; `out` is then as it was, and the
            rejected rows are in `<out>.rejected.jsonl`.
        SetupError: something that the pictures need is not installed.
    """
    with _aside(out) as folder:
        known = prepared.known(settings.digest, out, folder)
        tally = Tally()
        with (
            ThreadPoolExecutor(cores or os.cpu_count() or 1) as pool,
            (folder / prepared.SAMPLES).open("w", encoding="utf-8") as samples,
            (folder / prepared.REJECTED).open("w", encoding="utf-8") as rejected,
            (folder / prepared.PROGRESS).open("a", encoding="utf-8") as progress,
        ):
            work = _Work(pool, folder, settings, known, progress, pictures)
            for where, sample, split, reason in _finished(entries, work):
                if sample is None:
                    tally.reasons[reason] += 1
                    tally.first.setdefault(reason, f"{where.file}:{where.line}" if where.line else where.file)
                    _write(rejected, {"file": where.file, "line": where.line, "reason": reason})
                else:
                    tally.splits[split] += 1
                    tally.kinds[sample.kind] += 1
                    _write(samples, {**asdict(sample), "split": split})
                advance(tally.rows + tally.reasons.total(), f"{tally.reasons.total()} rejected")
        _judge(tally, max_rejected, folder, out)
        used = work.finish()
        _card(folder, about, settings, tally, used, pictures)
        _move(folder, out)
    return tally


class _Work:
    """The pictures that are being stored, each once, and the rows that wait for them."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        folder: Path,
        settings: store.Settings,
        known: dict[str, tuple[store.Stored, Path]],
        progress: IO[str],
        pictures: bool,
    ) -> None:
        self.pool, self.folder, self.settings, self.known = pool, folder, settings, known
        self.progress, self.pictures = progress, pictures
        self.jobs: dict[Picture | str, Future[store.Stored | str]] = {}
        self.used: dict[str, store.Stored] = {}
        self.written: set[str] = set()

    def begin(self, picture: Picture) -> "Future[store.Stored | str]":
        """Start on a picture, or join the work on it."""
        key = picture.name if isinstance(picture, InMemory) else picture  # a key must not hold the picture's bytes
        if key not in self.jobs:
            self.jobs[key] = self.pool.submit(self._store, picture)
        return self.jobs[key]

    def _store(self, picture: Picture) -> store.Stored | str:
        if not self.pictures:
            named = hashlib.sha256(picture.name.encode()).hexdigest()
            return store.Stored(named, (f"{store.FOLDER}/{named[:20]}.png",), (), ())
        try:
            return store.store(picture, self.settings, self.folder, self.known)
        except DataError as error:
            return error.what

    def result(self, job: "Future[store.Stored | str]") -> store.Stored:
        """What became of a picture.

        Raises:
            ValueError: it cannot be used.
        """
        stored = job.result()
        if isinstance(stored, str):
            raise ValueError(stored)
        if stored.file not in self.written:
            self.written.add(stored.file)
            self.known.setdefault(stored.file, (stored, self.folder))
            _write(self.progress, {"settings": self.settings.digest, **stored.record})
        return stored

    def finish(self) -> list[store.Stored]:
        """Write what is known of the files, drop the pictures that no row uses, and return the former."""
        used = sorted(self.used.values(), key=lambda stored: stored.file)
        lines = ({"settings": self.settings.digest, **stored.record} for stored in used)
        with (self.folder / prepared.IMAGES).open("w", encoding="utf-8") as written:
            for line in lines:
                _write(written, line)
        (self.folder / prepared.PROGRESS).unlink()
        wanted = {PurePosixPath(reference).name for stored in used for reference in stored.images}
        for path in (self.folder / store.FOLDER).iterdir():
            if path.name not in wanted:
                path.unlink()
        return used


def _finished(entries: Iterable[Entry], work: _Work) -> Iterator[tuple[Where, Sample | None, str, str]]:
    """Each row in its order, as soon as its pictures are stored: the sample and its split, or why there is none."""
    waiting: deque[tuple[Where, Draft | Refusal, list[Future[store.Stored | str]]]] = deque()
    ids: set[str] = set()

    def oldest() -> tuple[Where, Sample | None, str, str]:
        where, entry, jobs = waiting.popleft()
        try:
            if isinstance(entry, Refusal):
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
        pictures = entry.pictures if isinstance(entry, Draft) else ()
        jobs = [work.begin(picture) for picture in pictures]
        bare = entry if isinstance(entry, Refusal) else _without_content(entry)
        waiting.append((where, bare, jobs))
        while len(waiting) > IN_FLIGHT:
            yield oldest()
    while waiting:
        yield oldest()


def _without_content(draft: Draft) -> Draft:
    pictures = (replace(each, content=b"") if isinstance(each, InMemory) else each for each in draft.pictures)
    return replace(draft, pictures=tuple(pictures))


def _sample(draft: Draft, stored: list[store.Stored], salt: bytes) -> Sample:
    images = tuple(reference for each in stored for reference in each.images)
    modality = next((each.modality for each in stored if each.modality), "")
    if draft.asks_modality and not modality:
        raise ValueError("the file says no known modality, so that there is nothing to ask")
    answer = draft.answer or (modality if draft.asks_modality else "")
    patient = next((each.patient for each in stored if each.patient), "")
    content = "\0".join((draft.split, *images, draft.question, answer, *draft.options))
    given = digest(draft.id, salt) if _tells_a_file(draft) else draft.id
    made = given or hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:12]
    return Sample(
        id=made,
        question=draft.question,
        answer=answer,
        kind=draft.kind,
        group=(digest(draft.group, salt) if draft.group else patient) or (images[0] if images else made),
        source=draft.source,
        images=images,
        options=draft.options,
        explanation=draft.explanation,
        modality=draft.modality or modality,
        topic=draft.topic or next((each.view for each in stored if each.view), ""),
    )


def _tells_a_file(draft: Draft) -> bool:
    """Whether the id repeats the name of a file, which may be a patient's."""
    names = (PurePosixPath(each.name.replace("\\", "/")).stem for each in draft.pictures if isinstance(each, FileIn))
    return any(len(name) >= SHORTEST_NAME and name.casefold() in draft.id.casefold() for name in names)


def _judge(tally: Tally, max_rejected: float, folder: Path, out: Path) -> None:
    if tally.rows and tally.rejected_share <= max_rejected:
        return
    beside = out.with_name(f"{out.name}.rejected.jsonl")
    shutil.copyfile(folder / prepared.REJECTED, beside)
    reasons = "\n".join(
        f"{count:,} x {reason} (first: {tally.first[reason]})" for reason, count in tally.reasons.most_common(8)
    )
    total = tally.rows + tally.reasons.total()
    what = f"{tally.reasons.total():,} of {total:,} rows are rejected" if total else "the source holds no row"
    raise DataError(
        what,
        f"{beside} names each\n{reasons}" if total else str(out),
        "mend them, or allow it with a larger --max-rejected" if tally.rows else "mend the rows; not one can be used",
    )


def _card(
    folder: Path,
    about: dict[str, Any],
    settings: store.Settings,
    tally: Tally,
    used: list[store.Stored],
    pictures: bool,
) -> None:
    card = {
        "format": FORMAT,
        **about,
        "rows": dict(sorted(tally.splits.items())),
        "kinds": dict(sorted(tally.kinds.items())),
        "images": len({reference for stored in used for reference in stored.images}),
        "pictures": pictures,
        "max_image_tokens": settings.policy.max_image_tokens,
        "frames": settings.frames,
        "window": settings.window,
        "rejected": dict(tally.reasons.most_common()),
        "samples_sha256": hashlib.sha256((folder / prepared.SAMPLES).read_bytes()).hexdigest(),
        "lowmed": __version__,
    }
    (folder / prepared.CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder beside `out` to build in; what a killed run left in it is used, one run at a time."""
    folder, replaced = _hidden(out, "building"), _hidden(out, "replaced")
    if out.exists() and not (out / prepared.CARD).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("this exists and is no data set of `lowmed data prepare`", str(out), "choose another --out")
    try:
        (folder / store.FOLDER).mkdir(parents=True, exist_ok=True)
        if replaced.exists() and not out.exists():
            replaced.rename(out)  # a run was killed between two renames
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise DataError(f"the folder cannot be written ({error.strerror})", str(out), "choose another --out") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError("another run is writing this data set", str(out), "wait for it") from error
        try:
            yield folder
        except LowmedError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    shutil.rmtree(replaced, ignore_errors=True)


def _move(folder: Path, out: Path) -> None:
    (folder / "lock").unlink()
    if out.exists():
        out.rename(_hidden(out, "replaced"))
    folder.rename(out)


def _hidden(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")


def _write(file: IO[str], row: dict[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
