"""study.json: what went into a study, and the table derived from its stored completions."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from lowmed import __version__
from lowmed.answer import RULES_VERSION
from lowmed.errors import RunError
from lowmed.evaluation import results_folder
from lowmed.recipe.io import portable_path
from lowmed.run import RECORD
from lowmed.study.completions import Completions, read_completions
from lowmed.study.figures import accuracies, comparisons
from lowmed.study.folder import StudyFolder, evaluation_folder, evaluations, sha256
from lowmed.study.jobs import Job
from lowmed.study.records import StudyFile, StudyRecord, StudyRun
from lowmed.study.spec import BASE, StudySpec

_OUTPUTS = {"status", "error", "seconds", "adapter_sha256", "files", "steps"}  # of a run; they are no inputs


def study_record(folder: StudyFolder, spec: StudySpec, jobs: Sequence[Job]) -> StudyRecord:
    """Derive the results of a study from its folder. Runs that have not finished are listed and not counted.

    Raises:
        RunError: completions of a finished run are missing or damaged.
    """
    stored = {job.name: completions_of(folder, spec, job) for job in jobs if _is_finished(folder, job)}
    runs = tuple(study_run(folder, job, stored.get(job.name, [])) for job in jobs)
    completions = [one for part in stored.values() for one in part]
    if unknown := [name for name in spec.eval.splits if not any(name in one.settings.splits for one in completions)]:
        known = dict.fromkeys(split for one in completions for split in one.settings.splits)
        if completions:
            raise RunError(
                f"no evaluation has a split `{unknown[0]}`", "eval.splits", f"use some of {', '.join(known)}"
            )
    return build(spec, sha256(folder.study), runs, completions)


def require_same_completions(stored: StudyRecord, record: StudyRecord) -> None:
    """Refuse to replace a table if completions of the same adapter have changed since it was made.

    Raises:
        RunError: they have.
    """
    files = {(run.adapter_sha256, one.file): one for run in stored.runs for one in run.files}
    changed = [
        one.file
        for run in record.runs
        for one in run.files
        if (before := files.get((run.adapter_sha256, one.file))) and before.sha256 != one.sha256
    ]
    if changed:
        raise RunError(
            "stored completions have changed since the table was made",
            "\n".join(changed),
            "restore the files, or remove the folders of these evaluations and repeat the command",
        )


def build(spec: StudySpec, study: str, runs: tuple[StudyRun, ...], completions: Sequence[Completions]) -> StudyRecord:
    """The results from their parts.

    Args:
        spec: the study.
        study: SHA-256 of the stored study file.
        runs: all runs, also unfinished ones.
        completions: graded completions of the finished ones.
    """
    return StudyRecord(
        about=spec.about,
        digest=_digest(study, runs),
        nano=spec.nano,
        seeds=spec.seeds,
        grade=spec.eval.grade,
        max_questions=spec.eval.max_questions,
        rules=RULES_VERSION,
        lowmed=__version__,
        study_sha256=study,
        complete=all(run.status == "finished" for run in runs),
        runs=runs,
        accuracies=accuracies(spec, completions),
        comparisons=comparisons(spec, completions),
    )


def completions_of(folder: StudyFolder, spec: StudySpec, job: Job) -> list[Completions]:
    """The completions of a run: its adapter's, and those of its base model if the study shows them.

    Raises:
        RunError: they are missing or damaged.
    """
    result = []
    for source, _, prompts in evaluations(spec, job.recipe):
        where = evaluation_folder(folder.run(job), source, prompts)
        if job.arm in spec.eval.base:
            result.append(read_completions(where, f"{BASE}{job.arm}", job.seed, source, prompts, "base"))
        result.append(read_completions(where, job.arm, job.seed, source, prompts, "tuned"))
    return result


def _is_finished(folder: StudyFolder, job: Job) -> bool:
    record = folder.record(job)
    return record is not None and record.status == "finished" and folder.is_trained(job)


def study_run(folder: StudyFolder, job: Job, stored: Sequence[Completions]) -> StudyRun:
    """One run with what went into it.

    Args:
        folder: the study's folder.
        job: the job.
        stored: its completions; empty if it has not finished.
    """
    record, run = folder.record(job), folder.run(job)
    trained = run.record if (run.folder / RECORD).is_file() else None
    overrides = (f"data={job.spec.data}", *job.spec.set) if job.spec.data else job.spec.set
    return StudyRun(
        arm=job.arm,
        seed=job.seed,
        status="finished" if stored else record.status if record and record.status != "finished" else "waiting",
        error=record.error if record and not stored else None,
        method=job.recipe.method.kind,
        recipe=portable_path(job.spec.recipe),
        overrides=tuple(map(_portable, overrides)),
        start=job.spec.start,
        digest=record.digest if record else job.digest,
        model=portable_path(job.recipe.model.name),
        base_commit=trained.base_commit if trained else None,
        base_digest=record.base_digest if record else None,
        data_digest=trained.data_digest if trained else None,
        completions_digest=(trained.pairs_digest or trained.unpaired_digest) if trained else None,
        prompt_digests=(trained.prompt_digests or {}) if trained else {},
        reward_code=trained.reward_code if trained else (),
        versions=(trained.versions or {}) if trained else {},
        card=trained.card if trained else None,
        precision=trained.precision if trained else None,
        steps=trained.steps if trained else None,
        seconds=trained.seconds if trained else None,
        adapter_sha256=folder.adapter_sha256(job),
        files=tuple(_file(folder.folder, one) for one in stored),
    )


def _portable(override: str) -> str:
    key, equals, value = override.partition("=")
    return f"{key}{equals}{portable_path(value)}" if value else override


def _file(study: Path, one: Completions) -> StudyFile:
    return StudyFile(
        source=one.source,
        prompts=one.prompts,
        system="base" if one.label.startswith(BASE) else "tuned",
        file=one.file.relative_to(study).as_posix(),
        sha256=sha256(one.file),
        settings_sha256=sha256(one.file.with_name(results_folder.SETTINGS)),
        prompt_digest=one.settings.prompt_digest,
        data_digest=one.settings.data_digest,
    )


def _digest(study: str, runs: Sequence[StudyRun]) -> str:
    """SHA-256 over the stored study file and the inputs of every run, among them the prompts and data it answered."""
    inputs = [
        {
            **run.model_dump(mode="json", exclude=_OUTPUTS),
            "evaluated": [[one.source, one.prompts, one.prompt_digest, one.data_digest] for one in run.files],
        }
        for run in runs
    ]
    content = json.dumps([study, RULES_VERSION, inputs], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
