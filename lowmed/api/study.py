"""Run a study, as `lowmed study` does: recipes x seeds, and the table with its comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lowmed import processes
from lowmed.progress import Log, Progress, no_log, silent

if TYPE_CHECKING:
    from lowmed.study.execute import Outcome
    from lowmed.study.folder import StudyFolder
    from lowmed.study.jobs import Job
    from lowmed.study.records import StudyCheck, StudyRecord
    from lowmed.study.spec import StudySpec

Submit = Literal["local", "slurm", "skypilot"]


@dataclass(frozen=True)
class StudyReport:
    """The result of `run_study`.

    Attributes:
        folder: holds study.yaml, runs/, jobs/, and study.json, study.html and table.tex of the finished runs.
        record: the results; None if no run has finished, or the jobs were only submitted.
        outcomes: what became of each job in this call; those after an interruption are missing.
        submitted: ids of Slurm jobs, or files of SkyPilot tasks.
        stopped: whether a signal ended the study before its last job.
    """

    folder: Path
    record: "StudyRecord | None"
    outcomes: "tuple[Outcome, ...]"
    submitted: tuple[str, ...] = ()
    stopped: bool = False


def run_study(
    file: str | PathLike[str],
    out: str | PathLike[str],
    *,
    only: str | None = None,
    submit: Submit | None = None,
    progress: Progress = silent,
    log: Log = no_log,
) -> StudyReport:
    """Train and evaluate every arm with every seed, and write the table. The same call continues a stopped study.

    Args:
        file: the study file.
        out: the study's folder.
        only: one job, ARM-seedN.
        submit: give the jobs to submitit or Slurm, or write tasks of SkyPilot, in place of running them here.
        progress: shows the preparation of a data set.
        log: gets lines of text.

    Raises:
        RecipeError, DataError, SetupError: the study file or the recipe of an arm is invalid, or training would refuse
            it. Nothing is written then.
        RunError: the folder is not of this study, or an arm has changed since its run was made.
    """
    from lowmed.files import disk_errors
    from lowmed.study.execute import require_jobs, run_jobs
    from lowmed.study.folder import STUDY, StudyFolder, require_unchanged
    from lowmed.study.jobs import study_jobs
    from lowmed.study.read import load_study, store_study

    processes.require_single("study")
    spec, folder = load_study(Path(file)), StudyFolder(Path(out))
    jobs = study_jobs(spec)
    chosen = [require_jobs(jobs, only)] if only else jobs
    require_unchanged(folder, spec, jobs)
    if submit in ("local", "slurm"):
        from lowmed.study.submit import require_submitit

        require_submitit()
    _check(folder, spec, chosen, progress, log)
    with disk_errors(folder.folder):
        folder.folder.mkdir(parents=True, exist_ok=True)
        store_study(spec, folder.folder / STUDY)
    if submit:
        return _submit(Path(file), folder, spec, jobs, submit, log)
    outcomes = run_jobs(folder, spec, chosen, log)
    return StudyReport(
        folder=folder.folder,
        record=_write_results(folder, spec, jobs),
        outcomes=tuple(outcomes),
        stopped=len(outcomes) < len(chosen) or any(one.status == "stopped" for one in outcomes),
    )


def verify_study(out: str | PathLike[str], *, rerun: str | None = None, log: Log = no_log) -> "StudyCheck":
    """Derive the table of a study again from its stored completions, and compare it with what is stored.

    Args:
        out: the study's folder. Nothing in it is changed.
        rerun: a run, ARM-seedN, to train and evaluate again in a temporary folder.
        log: gets lines of text.

    Raises:
        RunError: the folder holds no results of a study, or the run cannot be repeated.
    """
    from lowmed.study.execute import require_jobs
    from lowmed.study.folder import StudyFolder
    from lowmed.study.records import StudyCheck
    from lowmed.study.rerun import rerun as repeat
    from lowmed.study.verify import open_results, problems, stored_jobs

    folder = StudyFolder(Path(out))
    spec, record = open_results(folder)
    lines, completions = problems(folder, spec, record)
    for path, text in _pages(folder, record).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            lines.append(f"{path.name} is not what this version of lowmed writes from study.json")
    job = require_jobs(list(stored_jobs(folder, spec).values()), rerun) if rerun else None
    return StudyCheck(
        folder=str(folder.folder),
        digest=record.digest,
        completions=completions,
        problems=tuple(lines),
        rerun=repeat(folder, spec, job, log) if job else None,
    )


def _check(folder: "StudyFolder", spec: "StudySpec", jobs: "Sequence[Job]", progress: Progress, log: Log) -> None:
    """Check the recipe of every arm that is not trained yet, and every data source, before anything is written.

    An adapter to start from that does not exist yet is checked by its base model and rank, and again by training.
    """
    from lowmed.api.check import check
    from lowmed.data.load import load
    from lowmed.errors import LowmedError

    checked = set()
    for job in jobs:
        if job.arm in checked or folder.is_trained(job):
            continue
        checked.add(job.arm)
        log(f"check   {job.arm}: {job.spec.recipe}")
        try:
            report = check(job.recipe, progress=progress)
        except LowmedError as error:
            raise type(error)(f"arms.{job.arm}: {error.what}", error.where, error.fix) from error
        for failure in report.rewards.failures if report.rewards else ():
            log(f"WARNING {job.arm}: {failure}")
    for source in spec.eval.sources if checked else ():
        name, _, path = source.partition("=")
        load(name, path or None, max_image_tokens=jobs[0].recipe.model.max_image_tokens, progress=progress)


def _submit(
    file: Path, folder: "StudyFolder", spec: "StudySpec", jobs: "Sequence[Job]", how: Submit, log: Log
) -> StudyReport:
    from lowmed.study import submit
    from lowmed.study.execute import Outcome, is_done

    missing = [job for job in jobs if not is_done(folder, spec, job)]
    done = tuple(Outcome(job, "finished") for job in jobs if job not in missing)
    if how == "slurm":
        ids = submit.submit_slurm(file, folder, spec, missing, log)
        return StudyReport(folder.folder, None, done, tuple(ids))
    if how == "skypilot":
        files = submit.write_skypilot(file, folder, spec, missing)
        return StudyReport(folder.folder, None, done, tuple(map(str, files)))
    submit.submit_local(file, folder, spec, missing, log)
    outcomes = [_outcome(folder, spec, job) for job in jobs]
    return StudyReport(folder.folder, _write_results(folder, spec, jobs), tuple(outcomes))


def _outcome(folder: "StudyFolder", spec: "StudySpec", job: "Job") -> "Outcome":
    from lowmed.study.execute import Outcome, is_done

    record = folder.record(job)
    if is_done(folder, spec, job):
        return Outcome(job, "finished")
    return Outcome(job, record.status, record.error or "") if record else Outcome(job, "waiting")


def _write_results(folder: "StudyFolder", spec: "StudySpec", jobs: "Sequence[Job]") -> "StudyRecord | None":
    """Write study.json, the page and the LaTeX table; nothing if no run has finished."""
    from lowmed.files import write_text
    from lowmed.records import read_record
    from lowmed.study.records import StudyRecord
    from lowmed.study.results import require_same_completions, study_record

    record = study_record(folder, spec, jobs)
    if not any(run.status == "finished" for run in record.runs):
        return None
    if folder.results.is_file():
        require_same_completions(read_record(folder.results, StudyRecord), record)
    for path, text in _pages(folder, record).items():
        write_text(path, text)
    record.write(folder.results)
    return record


def _pages(folder: "StudyFolder", record: "StudyRecord") -> dict[Path, str]:
    """The page and the LaTeX table, by their files."""
    from lowmed.report.study_latex import study_latex
    from lowmed.report.study_page import study_page
    from lowmed.study.folder import PAGE, TABLE

    return {folder.folder / PAGE: study_page(record), folder.folder / TABLE: study_latex(record)}
