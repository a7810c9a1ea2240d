"""Import a data set into a folder that every recipe accepts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lowmed.progress import Log, Progress, no_log, silent

if TYPE_CHECKING:
    from lowmed.data.image.files import Frames
    from lowmed.data.ingest.detect import ImportOptions
    from lowmed.data.ingest.dicom_join import JoinOptions
    from lowmed.data.ingest.prepare import PrepareCounts


@dataclass(frozen=True)
class RejectedReason:
    """Why rows were rejected, how many, and the location of the first."""

    reason: str
    rows: int
    first: str


@dataclass(frozen=True)
class PrepareReport:
    """The result of an import.

    Attributes:
        folder: the folder that was built.
        description: how the source was interpreted, as lines.
        rows: imported rows by split.
        kinds: imported rows by kind.
        rejected: rejected rows by reason, most frequent first.
        notes: imported rows by what was changed in them, or left out.
        look_at: points about the images for a person to review.
        masked: image files in which text was covered; None if no text was searched.
        left_out: labels of `--labels` that made no question, by reason: `uncertain`, `empty`.
        names: the private file with the names of source files, which the folder gives as digests; None if none is.
    """

    folder: str
    description: tuple[str, ...]
    rows: dict[str, int]
    kinds: dict[str, int]
    rejected: tuple[RejectedReason, ...] = field(default=())
    notes: dict[str, int] = field(default_factory=dict)
    look_at: tuple[str, ...] = field(default=())
    masked: int | None = None
    names: str | None = None
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def rejected_rows(self) -> int:
        """The number of rejected rows."""
        return sum(reason.rows for reason in self.rejected)

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)


def prepare(
    source: str,
    out: str | PathLike[str],
    *,
    path: str | None = None,
    options: "ImportOptions | None" = None,
    max_image_tokens: int | None = None,
    frames: "Frames | None" = None,
    plane: Literal["axial", "coronal", "sagittal"] = "axial",
    join: "JoinOptions | None" = None,
    window: str | None = None,
    mask_text: bool = False,
    images: bool = True,
    max_rejected: float = 0.05,
    merge: Sequence[str | PathLike[str]] = (),
    progress: Progress = silent,
    log: Log = no_log,
) -> PrepareReport:
    """Import a known source, a table, a folder or a hub data set into the folder `out`.

    Args:
        source: the name of a known source, a table file, a folder, or a hub id.
        out: the folder to build; an earlier data set there is replaced.
        path: local copy of a known source.
        options: how to read the source.
        max_image_tokens: pixel policy of the stored images; None for the default of recipes.
        frames: which frames of a file with several images, and which slices of a series in a join; `montage` shows up
            to 16 of them as one image. None for the first; in a join for the middle slice of a volume.
        plane: plane of the slices of NIfTI volumes.
        join: the table that names the studies in the folder `source`, and which of their images are used.
        window: CT window for DICOM and NIfTI files; None for the file's own.
        mask_text: cover text in the images; needs the extra `mask`.
        images: False imports the texts only.
        max_rejected: the largest share of rejected rows that is accepted, 0 to 1.
        merge: folders of all shards of this source (`prepare_shard`), which hold the images. The result is the same
            without them.
        progress: shows the import.
        log: gets the interpretation of the source before the import starts.

    Raises:
        RecipeError: the source or a column is unknown.
        DataError: the source is damaged, a shard is missing or of another source, too many rows are rejected, or `out`
            holds other files; `out` is unchanged.
        RunError: `out` exists and is not a data set of lowmed.
        SetupError: the hub is needed and cannot be reached, or text is to be covered and the detector is missing.
    """
    from lowmed.api.data_source import open_data
    from lowmed.data.ingest.prepare import prepare as build
    from lowmed.data.ingest.prepare import require_replaceable
    from lowmed.data.ingest.prepared_folder import stored_files
    from lowmed.data.ingest.shards import open_shards
    from lowmed.data.ingest.source_names import names_file
    from lowmed.errors import RecipeError

    require_replaceable(Path(out))  # before the source is read
    if merge and not images:
        raise RecipeError("shards hold images, and --text-only leaves them out", "--merge", "remove one of them")
    opened = open_data(source, path, options, max_image_tokens, frames, plane, join, window, mask_text, progress)
    merged = open_shards([Path(folder) for folder in merge], opened.settings) if merge else None
    log(opened.rows.description)
    with progress("prepare", max(opened.rows.count, 1)) as advance:
        counts = build(
            opened.rows.entries,
            Path(out),
            opened.settings,
            opened.about,
            images=images,
            max_rejected=max_rejected,
            merged=merged,
            advance=advance,
        )
    return PrepareReport(
        folder=str(out),
        description=tuple(opened.rows.description.splitlines()),
        rows=dict(sorted(counts.splits.items())),
        kinds=dict(sorted(counts.kinds.items())),
        rejected=tuple(
            RejectedReason(reason, number, counts.first[reason]) for reason, number in counts.reasons.most_common()
        ),
        notes=dict(counts.notes.most_common()),
        look_at=_look_at(counts, opened.settings.frames),
        masked=sum(any(stored.masked) for _, stored in stored_files(Path(out))) if mask_text else None,
        names=str(names_file(Path(out))) if names_file(Path(out)).is_file() else None,
        left_out=dict(options.labels.left_out) if options and options.labels else {},
    )


def _look_at(counts: "PrepareCounts", frames: str) -> tuple[str, ...]:
    from lowmed.data.image.montage import MONTAGE_FRAMES, SPACED_FRAMES

    notes = counts.images
    result = []
    if notes.blank:
        images = "1 image shows" if notes.blank == 1 else f"{notes.blank:,} images show"
        result.append(
            f"{images} one value, or nearly (first: {counts.first['blank']}); no question about that can be answered"
        )
    if notes.partly_used:
        files = "1 file" if notes.partly_used == 1 else f"{notes.partly_used:,} files"
        others = "|".join(name for name in ("first", "middle", "spaced", "all", "montage") if name != frames)
        most = {"montage": MONTAGE_FRAMES, "spaced": SPACED_FRAMES}.get(frames)
        used = f"up to {most} of the frames are" if most else f"only the {frames} frame is"
        result.append(
            f"of {files} with several frames {used} used, {notes.unused_frames:,} are not "
            f"(first: {counts.first['unused']}); choose with --frames {others}"
        )
    return tuple(result)
