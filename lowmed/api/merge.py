"""`merge`: merge the adapter of a run into its base, and compare the result with the adapter."""

from os import PathLike, fspath
from pathlib import Path

from lowmed.progress import Log, Progress, no_log, silent
from lowmed.ship.records import MergeReport


def merge(
    run: str | PathLike[str],
    out: str | PathLike[str],
    *,
    reference: str | None = None,
    into: str = "16bit",
    questions: int = 32,
    on: str | None = None,
    path: str | None = None,
    base: str | None = None,
    progress: Progress = silent,
    log: Log = no_log,
) -> MergeReport:
    """Merge the adapter of a run into its 16-bit base. The folder appears only if every check passes.

    Args:
        run: directory of a finished run.
        out: the folder to create.
        reference: weights that the adapter is added to: `original`, `dequantized`, or None for the default.
        into: precision of the result, `16bit` or `4bit`.
        questions: number of held-out questions that compare adapter and merged model; 0 leaves the comparison out.
        on: another source of questions than the run's held-out split.
        path: folder of that source.
        base: folder of the 16-bit base, if it has moved.
        progress: draws the progress over the shards.
        log: gets one line with the estimate of memory, disk and time.

    Raises:
        LowmedError: the merge is not possible.
    """
    from lowmed.files import require_absent

    require_absent(Path(out))  # before torch is imported
    from lowmed.engine import device

    device.silence_libraries()  # before transformers is imported
    from lowmed.ship.merge_job import prepare_merge, run_merge

    job = prepare_merge(
        fspath(run),
        Path(out),
        reference=reference,
        into=into,
        questions=questions,
        on=on,
        path=path,
        base=base,
        log=log,
    )
    with progress("merge", job.shards) as advance:
        return run_merge(job, advance)
