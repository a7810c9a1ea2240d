"""`export`: convert a run to the format of another program, or upload it."""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

from lowmed.progress import Log, Progress, no_log, silent
from lowmed.ship.export import ExportRequest, export_function
from lowmed.ship.records import ExportReport


def export(
    run: str | PathLike[str],
    to: str,
    out: str | PathLike[str] | None = None,
    *,
    reference: str | None = None,
    questions: int = 32,
    on: str | None = None,
    path: str | None = None,
    base: str | None = None,
    repository: str | None = None,
    upload: bool = False,
    public: bool = False,
    reviewed: Sequence[str] = (),
    progress: Progress = silent,
    log: Log = no_log,
) -> ExportReport:
    """Export a run to a target. Merged weights are compared with the adapter first.

    Args:
        run: directory of a finished run, or a folder that was exported before.
        to: a key of `lowmed.ship.export.TARGETS`.
        out: the folder to create; optional only for an upload of a folder that was exported before.
        reference: weights that the adapter is added to: `original`, `dequantized`, or None for the default.
        questions: number of held-out questions that compare adapter and merged model; 0 leaves the comparison out.
        on: another source of questions than the run's held-out split.
        path: folder of that source.
        base: folder of the 16-bit base, if it has moved.
        repository: owner/name on the hub, for the target `hub`.
        upload: upload to the hub; without it, files are only listed.
        public: make the repository public.
        reviewed: files that a person has checked for patient data.
        progress: draws the progress over the shards.
        log: gets lines for the reader.

    Raises:
        LowmedError: the export is not possible.
    """
    from lowmed.files import require_absent

    if out is not None:
        require_absent(Path(out))  # before torch is imported
    from lowmed.engine import device

    device.silence_libraries()  # before transformers is imported
    return export_function(to)(
        ExportRequest(
            target=to,
            source=fspath(run),
            out=Path(out) if out is not None else None,
            reference=reference,
            questions=questions,
            on=on,
            path=path,
            base=base,
            repository=repository,
            upload=upload,
            public=public,
            reviewed=tuple(reviewed),
            progress=progress,
            log=log,
        )
    )
