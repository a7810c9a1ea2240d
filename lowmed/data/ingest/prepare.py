"""Rows and images of any source into one folder that every recipe accepts.

The folder holds `samples.jsonl` (one Sample a line, with its split), `rejected.jsonl` (what was kept out, and why),
`images/`, `images.jsonl` (what is known of each image's file) and `card.json`. It is built aside and moved into
place when it is whole.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lowmed import __version__
from lowmed.data.ingest import image_store, prepared_folder
from lowmed.data.ingest.image_pipeline import ImagePipeline, run_pipeline, write_line
from lowmed.data.ingest.raw_sample import Entry
from lowmed.errors import DataError, LowmedError

FORMAT = 1
SHOWN_REASONS = 8
Advance = Callable[[int, str], None]


@dataclass
class PrepareCounts:
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
    settings: image_store.ImageStoreSettings,
    about: dict[str, Any],
    *,
    images: bool = True,
    max_rejected: float = 0.05,
    cores: int | None = None,
    advance: Advance = lambda done, note: None,
) -> PrepareCounts:
    """Build the folder `out`, reusing what an earlier run of the same settings left there.

    `about` goes into the card; without `pictures` only the texts are kept, which can be audited but not trained on.

    Raises:
        DataError: no row is left, or more than `max_rejected` of them are rejected; `out` is then as it was, and the
            rejected rows are in `<out>.rejected.jsonl`.
    """
    with _aside(out) as folder:
        known = prepared_folder.known_files(settings.digest, out, folder)
        tally = PrepareCounts()
        with (
            ThreadPoolExecutor(cores or os.cpu_count() or 1) as pool,
            (folder / prepared_folder.SAMPLES).open("w", encoding="utf-8") as samples,
            (folder / prepared_folder.REJECTED).open("w", encoding="utf-8") as rejected,
            (folder / prepared_folder.PROGRESS).open("a", encoding="utf-8") as progress,
        ):
            work = ImagePipeline(pool, folder, settings, known, progress, images)
            for where, sample, split, reason in run_pipeline(entries, work):
                if sample is None:
                    tally.reasons[reason] += 1
                    tally.first.setdefault(reason, f"{where.file}:{where.line}" if where.line else where.file)
                    write_line(rejected, {"file": where.file, "line": where.line, "reason": reason})
                else:
                    tally.splits[split] += 1
                    tally.kinds[sample.kind] += 1
                    write_line(samples, {**asdict(sample), "split": split})
                advance(tally.rows + tally.reasons.total(), f"{tally.reasons.total()} rejected")
        _judge(tally, max_rejected, folder, out)
        used = work.finish()
        _card(folder, about, settings, tally, used, images)
        _move(folder, out)
    return tally


def _judge(tally: PrepareCounts, max_rejected: float, folder: Path, out: Path) -> None:
    if tally.rows and tally.rejected_share <= max_rejected:
        return
    beside = out.with_name(f"{out.name}.rejected.jsonl")
    shutil.copyfile(folder / prepared_folder.REJECTED, beside)
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
    settings: image_store.ImageStoreSettings,
    tally: PrepareCounts,
    used: list[image_store.StoredFile],
    images: bool,
) -> None:
    card = {
        "format": FORMAT,
        **about,
        "rows": dict(sorted(tally.splits.items())),
        "kinds": dict(sorted(tally.kinds.items())),
        "images": len({reference for stored in used for reference in stored.images}),
        "pictures": images,
        "max_image_tokens": settings.policy.max_image_tokens,
        "frames": settings.frames,
        "window": settings.window,
        "rejected": dict(tally.reasons.most_common()),
        "samples_sha256": hashlib.sha256((folder / prepared_folder.SAMPLES).read_bytes()).hexdigest(),
        "lowmed": __version__,
    }
    (folder / prepared_folder.CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder beside `out` to build in; what a killed run left in it is used, one run at a time."""
    folder, replaced = _hidden(out, "building"), _hidden(out, "replaced")
    if out.exists() and not (out / prepared_folder.CARD).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("this exists and is no data set of `lowmed data prepare`", str(out), "choose another --out")
    try:
        (folder / image_store.FOLDER).mkdir(parents=True, exist_ok=True)
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
