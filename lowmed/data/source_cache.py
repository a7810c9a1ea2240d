"""Known sources for training: imported once into the user's cache, then read from there.

An entry is `$XDG_CACHE_HOME/lowmed/data/<source>-<digest>`. The digest changes with the source files, the pixel policy
and the version of lowmed. Entries are written completely or not at all.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from lowmed import __version__
from lowmed.data import folder
from lowmed.data.dataset import DataSet
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest import prepared_folder, pseudonyms, source_names
from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.data.ingest.prepare import prepare
from lowmed.data.sources.source import Source
from lowmed.errors import DataError, RunError, SetupError
from lowmed.files import disk_errors
from lowmed.lock import locked
from lowmed.progress import Progress


def load(
    source: Source,
    path: str | None,
    max_image_tokens: int,
    progress: Progress | None = None,
    *,
    flag: str = "data.path",
) -> DataSet:
    """The data set of a known source, imported into the cache on first use.

    Args:
        source: the source.
        path: its local copy; None for the hub.
        max_image_tokens: the pixel policy that the images are stored with.
        progress: shows the import.
        flag: the recipe key that names the path, for errors.

    Raises:
        DataError: the local copy is missing or wrong, or no row of it can be used.
        SetupError: the hub is needed and cannot be reached, or the cache cannot be written.
    """
    options = ImportOptions()
    settings = ImageStoreSettings(PixelPolicy(max_image_tokens), salt=pseudonyms.read_salt())
    identity = f"{__version__} {source.fingerprint(path, flag=flag)} {settings.digest} {options}"
    entry = cache_folder() / f"{source.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    with _locked(entry):
        dataset = _read(source, entry)
        if dataset is None:
            shutil.rmtree(entry, ignore_errors=True)
            _import(source, path, entry, settings, progress, flag)
            dataset = folder.load(str(entry), source.name)
        rejected = (*prepared_folder.rejected_rows(entry), *dataset.rejected)
        names = source_names.read_names(entry)
    return replace(dataset, rejected=rejected, unused=tuple(names.get(image, image) for image in dataset.unused))


def _read(source: Source, entry: Path) -> DataSet | None:
    """The data set of a cache entry; None if the entry is missing, or was changed after it was written."""
    try:
        card = prepared_folder.data_card(entry)
        if card is None or prepared_folder.samples_digest(entry / prepared_folder.SAMPLES) != card.samples_sha256:
            return None
        if len(prepared_folder.rejected_rows(entry)) != sum(card.rejected.values()):
            return None
        dataset = folder.load(str(entry), source.name)
    except (DataError, RunError, OSError):
        return None
    return None if dataset.rejected else dataset


def cache_folder() -> Path:
    """The folder of all cached sources."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lowmed" / "data"


def _import(
    source: Source,
    path: str | None,
    entry: Path,
    settings: ImageStoreSettings,
    progress: Progress | None,
    flag: str,
) -> None:
    rows = source.rows(path, ImportOptions(), flag=flag)
    shown = progress(f"prepare {source.name}", max(rows.count, 1)) if progress else nullcontext(lambda done, note: None)
    try:
        with disk_errors(entry), shown as advance:
            prepare(rows.entries, entry, settings, source.card(rows.unused_images), max_rejected=1.0, advance=advance)
    except DataError as error:
        if not error.where.startswith(str(entry)):
            raise
        # No row can be used. The error has to name the source, which the user can correct, and not the cache.
        entry.with_name(f"{entry.name}.rejected.jsonl").unlink(missing_ok=True)
        reasons = error.where.partition("\n")[2]
        where = str(path or source.hub_id) + (f"\n{reasons}" if reasons else "")
        raise DataError(
            f"no row can be used: {error.what}", where, f"correct the rows, or set {flag} to another copy"
        ) from error


@contextmanager
def _locked(entry: Path) -> Iterator[None]:
    """Wait until no other process writes the entry."""
    with ExitStack() as stack:
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(entry.with_name(f"{entry.name}.lock"), wait=True))
        except OSError as error:
            raise SetupError(
                f"the data cache cannot be written or locked ({error.strerror})",
                str(entry.parent),
                "set XDG_CACHE_HOME to a folder that can be written, on a local disk",
            ) from error
        yield
