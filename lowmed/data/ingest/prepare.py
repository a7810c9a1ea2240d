"""Import rows and images of any source into one folder that every recipe accepts.

The folder holds `samples.jsonl` (one Sample a line, with its split), `rejected.jsonl` (rejected rows with the reason),
`images/`, `images.jsonl` (a record of each source image file) and `card.json`. It is built in a temporary sibling and
renamed when it is complete. No file of it names a file of the user: `source_names` keeps these names elsewhere.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lowmed import __version__
from lowmed.data.ingest import image_store, prepared_folder, shards, source_names
from lowmed.data.ingest.image_pipeline import ImagePipeline, run_pipeline
from lowmed.data.ingest.raw_sample import Entry, RowLocation
from lowmed.data.strata import StrataCheck
from lowmed.errors import DataError, LowmedError
from lowmed.files import disk_errors, require_own_folder, to_jsonl
from lowmed.lock import HeldError, locked
from lowmed.progress import Advance

SHOWN_REASONS = 8


@dataclass
class PrepareCounts:
    """Imported rows by split, kind and what was changed in them, rejected rows by reason, the first location of each.

    `first` also has the first row with a blank image (`blank`), and with unused frames (`unused`).
    """

    splits: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    with_images: int = 0
    images: prepared_folder.ImageNotes = field(default_factory=prepared_folder.ImageNotes)
    rejections: list[tuple[RowLocation, str]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of imported rows."""
        return self.splits.total()

    @property
    def rejected(self) -> int:
        """The number of rejected rows."""
        return self.reasons.total()

    @property
    def rejected_share(self) -> float:
        """Rejected rows over all rows."""
        return self.rejected / (self.rows + self.rejected) if self.rejected else 0.0


def prepare(
    entries: Iterable[Entry],
    out: Path,
    settings: image_store.ImageStoreSettings,
    about: Mapping[str, Any],
    *,
    images: bool = True,
    max_rejected: float = 0.05,
    merged: shards.Shards | None = None,
    cores: int | None = None,
    advance: Advance = lambda done, note: None,
) -> PrepareCounts:
    """Build the folder `out`, reusing the images that an earlier run stored there with the same settings.

    Args:
        entries: the rows.
        out: the folder to build.
        settings: how images are stored.
        about: `source` and further fields of the card.
        images: False keeps the texts only. Rows that refer to images can then be audited but not trained on.
        max_rejected: the largest share of rejected rows that is accepted.
        merged: the shards that hold the images; the result is the same without them.
        cores: threads that store images; None for one a core.
        advance: called with the number of rows done and a note.

    Raises:
        DataError: the shards are of other rows, no row is left, or more than `max_rejected` of them are rejected.
            `out` is then unchanged, and `<out>.rejected.jsonl` names the rejected rows.
    """
    rows = shards.DigestedRows(entries) if merged else entries
    with disk_errors(out), _building(out, prepared_folder.CARD) as folder:  # outside: a retry reuses stored images
        known = prepared_folder.known_files(settings.digest, out, folder, *(merged.folders if merged else ()))
        counts, strata = PrepareCounts(), StrataCheck("--map strata")
        with (
            ThreadPoolExecutor(cores or os.cpu_count() or 1) as pool,
            (folder / prepared_folder.SAMPLES).open("w", encoding="utf-8") as samples,
            (folder / prepared_folder.PROGRESS).open("a", encoding="utf-8") as progress,
        ):
            pipeline = ImagePipeline(pool, folder, settings, known, progress, images)
            if merged:
                pipeline.digest_of = partial(merged.digest_of, salt=settings.salt)
            for location, sample, split, reason, notes in run_pipeline(rows, pipeline):
                if sample is None:
                    counts.reasons[reason] += 1
                    counts.first.setdefault(reason, str(location))
                    counts.rejections.append((location, reason))
                else:
                    counts.splits[split] += 1
                    counts.kinds[sample.kind] += 1
                    counts.with_images += bool(sample.images)
                    counts.notes.update(notes)
                    strata.add(sample.strata)
                    samples.write(to_jsonl([prepared_folder.sample_line(sample, split)]))
                advance(counts.rows + counts.rejected, f"{counts.rejected} rejected")
        if merged and isinstance(rows, shards.DigestedRows):
            merged.check(rows)
        _check_counts(counts, max_rejected, out)
        strata.finish()
        used = pipeline.finish()
        if merged:
            merged.check_images(folder, used)
        counts.images, counts.first = prepared_folder.image_notes(used), counts.first | pipeline.first
        about = _without_names(folder, out, about, counts, settings.salt)
        card = _card(folder, about, settings, counts, used, images)
        (folder / prepared_folder.CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _move(folder, out)
    return counts


def prepare_shard(
    entries: Iterable[Entry],
    out: Path,
    settings: image_store.ImageStoreSettings,
    shard: shards.Shard,
    *,
    cores: int | None = None,
    advance: Advance = lambda done, note: None,
) -> shards.ShardRecord:
    """Build the folder `out` with the images of one shard; arguments as of `prepare`.

    Raises:
        RunError, DataError: `out` holds something else.
    """
    with disk_errors(out), _building(out, shards.RECORD) as folder:
        record = shards.store_shard(entries, folder, out, settings, shard, cores=cores, advance=advance)
        _move(folder, out)
    return record


def _without_names(
    folder: Path, out: Path, about: Mapping[str, Any], counts: PrepareCounts, salt: bytes
) -> dict[str, Any]:
    """Write the rejected rows, and return the card's fields, both with digests of names; the names are stored."""
    unused = about.get("unused_images", ())
    names = dict.fromkeys((*(location.file for location, _ in counts.rejections), *unused))
    digests = {name: source_names.digest_of(name, salt) for name in names}
    rows = [{"file": digests[where.file], "line": where.line, "reason": reason} for where, reason in counts.rejections]
    source_names.write_names(out, names, rows, salt)
    rows = [{**row, "reason": source_names.without_contents(str(row["reason"]))} for row in rows]
    (folder / prepared_folder.REJECTED).write_text(to_jsonl(rows), encoding="utf-8")
    return {**about, "unused_images": tuple(digests[name] for name in unused)}


def _check_counts(counts: PrepareCounts, max_rejected: float, out: Path) -> None:
    if counts.rows and counts.rejected_share <= max_rejected:
        return
    total = counts.rows + counts.rejected
    if not total:
        raise DataError("the source contains no row", str(out), "use another copy of the source")
    copy = out.with_name(f"{out.name}.rejected.jsonl")
    rows = ({"file": where.file, "line": where.line, "reason": reason} for where, reason in counts.rejections)
    source_names.write_private(copy, to_jsonl(rows, ascii_only=True))
    reasons = "\n".join(
        f"{count:,} x {reason} (first: {counts.first[reason]})"
        for reason, count in counts.reasons.most_common(SHOWN_REASONS)
    )
    raise DataError(
        f"{counts.rejected:,} of {total:,} rows are rejected",
        f"{copy} lists them all, with the names of your files; do not share it\n{reasons}",
        "correct the rows, or allow them with a larger --max-rejected"
        if counts.rows
        else "correct the rows; none can be used",
    )


def _card(
    folder: Path,
    about: Mapping[str, Any],
    settings: image_store.ImageStoreSettings,
    counts: PrepareCounts,
    used: list[image_store.StoredFile],
    images: bool,
) -> prepared_folder.DataCard:
    return prepared_folder.DataCard.model_validate(
        {
            **about,
            "rows": dict(sorted(counts.splits.items())),
            "kinds": dict(sorted(counts.kinds.items())),
            "images": len({reference for stored in used for reference in stored.images}),
            "has_images": images or counts.with_images == 0,
            "max_image_tokens": settings.policy.max_image_tokens,
            "frames": settings.frames,
            "window": settings.window,
            "plane": settings.plane,
            "image_notes": counts.images,
            "mask_text": settings.mask_text,
            "rejected": _public(counts.reasons),
            "notes": dict(counts.notes.most_common()),
            "samples_sha256": prepared_folder.samples_digest(folder / prepared_folder.SAMPLES),
            "lowmed": __version__,
        }
    )


def _public(reasons: Counter[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for reason, rows in reasons.items():
        counts[source_names.without_contents(reason)] += rows
    return dict(counts.most_common())


def require_replaceable(out: Path, mark: str = prepared_folder.CARD) -> None:
    """Refuse an output folder without this file, which is no data set of lowmed, or with others, which would be lost.

    Raises:
        RunError: something else is there.
        DataError: the folder also holds files that lowmed did not write.
    """
    require_own_folder(out, mark)
    if others := prepared_folder.other_files(out):
        what = f"the data set there also holds other files, which would be lost: {', '.join(others[:SHOWN_REASONS])}"
        raise DataError(what, str(out), "move them away, or choose another --out")


@contextmanager
def _building(out: Path, mark: str) -> Iterator[Path]:
    """A sibling of `out` to build in, locked. It continues with the images that a killed run left there."""
    require_replaceable(out, mark)
    folder, replaced = _hidden(out, "building"), _hidden(out, "replaced")
    try:
        (folder / image_store.FOLDER).mkdir(parents=True, exist_ok=True)
        if replaced.exists() and not out.exists():
            replaced.rename(out)  # a run was killed between the two renames
    except OSError as error:
        raise DataError(f"the folder cannot be written ({error.strerror})", str(out), "choose another --out") from error
    with _locked(folder, out):
        try:
            yield folder
        except LowmedError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "lock"))
        except HeldError as error:
            raise DataError(f"another process is writing this data set: {error}", str(out), "wait for it") from error
        except OSError as error:
            what = f"the folder cannot be locked ({error.strerror})"
            raise DataError(what, str(out), "choose another --out, on a local disk") from error
        yield


def _move(folder: Path, out: Path) -> None:
    (folder / "lock").unlink()
    if out.exists():
        out.rename(_hidden(out, "replaced"))
    folder.rename(out)


def _hidden(out: Path, suffix: str) -> Path:
    return out.with_name(f".{out.name}.{suffix}")
