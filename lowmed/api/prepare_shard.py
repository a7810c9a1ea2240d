"""Store the images of one shard of a source, as `lowmed data prepare --shard` does."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lowmed.progress import Log, Progress, no_log, silent

if TYPE_CHECKING:
    from lowmed.data.image.files import Frames
    from lowmed.data.ingest.detect import ImportOptions
    from lowmed.data.ingest.dicom_join import JoinOptions
    from lowmed.data.ingest.shards import ShardRecord


def prepare_shard(
    source: str,
    out: str | PathLike[str],
    shard: str,
    *,
    path: str | None = None,
    options: "ImportOptions | None" = None,
    max_image_tokens: int | None = None,
    frames: "Frames | None" = None,
    plane: Literal["axial", "coronal", "sagittal"] = "axial",
    join: "JoinOptions | None" = None,
    window: str | None = None,
    mask_text: bool = False,
    progress: Progress = silent,
    log: Log = no_log,
) -> "ShardRecord":
    """Store the images of one shard of a source in the folder `out`, for `prepare(..., merge=[...])`.

    Args:
        source: as of `prepare`, like all further arguments.
        out: the folder of the shard.
        shard: i/n, from 1/n to n/n.
        path: see `source`.
        options: see `source`.
        max_image_tokens: see `source`.
        frames: see `source`.
        plane: see `source`.
        join: see `source`.
        window: see `source`.
        mask_text: see `source`.
        progress: see `source`.
        log: see `source`.

    Raises:
        LowmedError: as `prepare`.
    """
    from lowmed.api.data_source import open_data
    from lowmed.data.ingest.prepare import prepare_shard as build
    from lowmed.data.ingest.prepare import require_replaceable
    from lowmed.data.ingest.shards import RECORD, parse_shard

    part = parse_shard(shard)
    require_replaceable(Path(out), RECORD)
    opened = open_data(source, path, options, max_image_tokens, frames, plane, join, window, mask_text, progress)
    log(opened.rows.description)
    with progress(f"shard {shard}", max(opened.rows.count, 1)) as advance:
        return build(opened.rows.entries, Path(out), opened.settings, part, advance=advance)
