"""The source of a data set, opened for import."""

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lowmed.progress import Progress

if TYPE_CHECKING:
    from lowmed.data.image.files import Frames
    from lowmed.data.ingest.detect import ImportOptions, RowStream
    from lowmed.data.ingest.dicom_join import JoinOptions
    from lowmed.data.ingest.image_store import ImageStoreSettings


@dataclass(frozen=True)
class OpenData:
    """The rows of a source, the fields of the card that describe it, and how its images are stored."""

    rows: "RowStream"
    about: dict[str, Any]
    settings: "ImageStoreSettings"


def open_data(
    source: str,
    path: str | None,
    options: "ImportOptions | None",
    max_image_tokens: int | None,
    frames: "Frames | None",
    plane: Literal["axial", "coronal", "sagittal"],
    join: "JoinOptions | None",
    window: str | None,
    mask_text: bool,
    progress: Progress,
) -> OpenData:
    """Open a source; arguments as of `lowmed.prepare`.

    Raises:
        LowmedError: as `lowmed.prepare`.
    """
    from lowmed.data.image.mask_text import require_detector
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.data.ingest import pseudonyms
    from lowmed.data.ingest.detect import ImportOptions
    from lowmed.data.ingest.image_store import ImageStoreSettings
    from lowmed.errors import RecipeError
    from lowmed.recipe import ModelSpec

    if mask_text:
        require_detector()
    salt = pseudonyms.read_salt()
    if join and path:
        raise RecipeError("--path is for known sources, not for a join", "--path", "name the studies as SOURCE")
    if join and options and (options.labels or options.group_pattern):
        flag = "--labels" if options.labels else "--group-pattern"
        raise RecipeError(f"{flag} is for a table with image files, not for a join", flag, "remove it")
    if join:
        rows, about = _join(source, join, options or ImportOptions(), frames, salt, progress), {"source": "own"}
    else:
        rows, about = _open(source, path, options or ImportOptions())
    policy = PixelPolicy(max_image_tokens or ModelSpec().max_image_tokens)
    used_frames = frames or ("middle" if join else "first")
    return OpenData(rows, about, ImageStoreSettings(policy, used_frames, window, salt, plane, mask_text))


def _join(
    source: str, join: "JoinOptions", options: "ImportOptions", frames: "Frames | None", salt: bytes, progress: Progress
) -> "RowStream":
    """The rows of the table with the images of the studies in the folder `source`."""
    from lowmed.data.ingest.dicom_join import joined_rows
    from lowmed.data.ingest.dicom_studies import all_files

    folder = Path(source).expanduser()
    join = replace(join, choice=replace(join.choice, frames=frames))
    with progress("tags", max(len(all_files(folder)) if folder.is_dir() else 0, 1)) as advance:
        return joined_rows(folder, join, options, salt, advance)


def _open(source: str, path: str | None, options: "ImportOptions") -> tuple["RowStream", dict[str, Any]]:
    """The rows of the source, and the fields of the card that describe it."""
    from lowmed.data.ingest import hub
    from lowmed.data.ingest.detect import open_source
    from lowmed.data.ingest.tables import SUFFIXES
    from lowmed.data.sources import KNOWN
    from lowmed.errors import RecipeError
    from lowmed.run import is_missing_path

    if source in KNOWN:
        rows = KNOWN[source].rows(path, options)
        return rows, KNOWN[source].card(rows.unused_images)
    if path is not None:
        raise RecipeError(
            f"`{source}` is not a known source, and --path is for known sources",
            "--path",
            "name the table or folder as SOURCE",
        )
    file = Path(source).expanduser()
    is_path = file.exists() or file.is_symlink() or ("/" in source and is_missing_path(source))
    if is_path or file.suffix.lower() in (*SUFFIXES, ".zip"):
        return open_source(file, options), {"source": "own"}
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return hub.rows(source, source, options, "download it and name its folder"), {"source": source}
    close = difflib.get_close_matches(source, KNOWN, n=1)
    suggestion = f"; did you mean `{close[0]}`?" if close else ""
    raise RecipeError(
        f"`{source}` is not a known source, file, folder or hub id{suggestion}",
        "SOURCE",
        "`lowmed data sources` lists the known ones",
    )
