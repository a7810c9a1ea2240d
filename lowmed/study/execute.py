"""Runs the jobs of a study: trains what is missing, then generates the completions that are missing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lowmed.errors import RunError
from lowmed.evaluation import results_folder
from lowmed.evaluation.records import EvalReport
from lowmed.lock import HeldError, holder, locked
from lowmed.nano import folder as nano_folder
from lowmed.progress import Log
from lowmed.records import read_record
from lowmed.run import LOCK, RECORD, Run
from lowmed.study.commands import Commands
from lowmed.study.folder import StudyFolder, evaluation_folder, evaluations, weights_digest
from lowmed.study.jobs import Job
from lowmed.study.records import JobRecord, Status
from lowmed.study.spec import StudySpec

INTERRUPTED = 130
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Outcome:
    """What became of a job in this call: `running` if another process has it, `waiting` if its start has."""

    job: Job
    status: Status
    error: str = ""


def run_jobs(folder: StudyFolder, spec: StudySpec, jobs: Sequence[Job], log: Log) -> list[Outcome]:
    """Run the jobs one after the other, each after the one that it starts from. A failed one does not end the others.

    Several processes may share a study: each job is run by the one that locks it.

    Args:
        folder: the study's folder.
        spec: the study.
        jobs: all jobs, or some; each after its start if that is among them.
        log: gets lines of text.
    """
    commands = Commands(log)
    outcomes: list[Outcome] = []
    with commands.forward_signals():
        for number, job in enumerate(jobs, 1):
            if commands.stopped_by:
                break
            if is_done(folder, spec, job):
                outcomes.append(Outcome(job, "finished"))
                continue
            log(f"{job.name}  {number} of {len(jobs)}: {job.recipe.method.kind}, {job.spec.recipe}")
            outcomes.append(_run(folder, spec, job, commands, outcomes))
            if outcomes[-1].error:
                log(f"{job.name}  {outcomes[-1].status}: {outcomes[-1].error}")
    return outcomes


def _run(folder: StudyFolder, spec: StudySpec, job: Job, commands: Commands, earlier: Sequence[Outcome]) -> Outcome:
    if job.start and not folder.is_trained(job.start):
        start = next((one for one in earlier if one.job.name == job.start.name), None)
        if start is None or start.status in ("running", "waiting"):
            return Outcome(job, "waiting", f"it starts from {job.start.name}, which has not finished")
        return _store(folder, spec, job, "failed", f"it starts from {job.start.name}, which failed")
    folder.lock_file(job).parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder.lock_file(job)):
            return _train_and_evaluate(folder, spec, job, commands)
    except HeldError as error:
        return Outcome(job, "running", f"another process runs it: {error}")


def _train_and_evaluate(folder: StudyFolder, spec: StudySpec, job: Job, commands: Commands) -> Outcome:
    run = folder.run(job)
    _store(folder, spec, job, "running")
    if not folder.is_trained(job):
        _wait_for_orphan(run, commands)
        if commands.stopped_by:
            return _store(folder, spec, job, "stopped", f"by {commands.stopped_by}")
        code, error = commands.run(job.name, training_command(folder, spec, job))
        if not folder.is_trained(job):
            return _end(folder, spec, job, commands, code, error)
    for source, on, prompts in evaluations(spec, job.recipe):
        if commands.stopped_by:
            return _store(folder, spec, job, "stopped", f"by {commands.stopped_by}")
        with_base = job.arm in spec.eval.base
        where = evaluation_folder(run, source, prompts)
        if not _is_evaluated(where, with_base):
            code, error = commands.run(job.name, _eval_command(run.folder, where, spec, on, prompts, with_base))
            if code:
                return _end(folder, spec, job, commands, code, error)
    return _store(folder, spec, job, "finished")


def _end(folder: StudyFolder, spec: StudySpec, job: Job, commands: Commands, code: int, error: str) -> Outcome:
    """A command that did not reach its end: stopped by a signal, or failed."""
    if commands.stopped_by or code == INTERRUPTED:
        return _store(folder, spec, job, "stopped", f"by {commands.stopped_by or 'a signal'}")
    return _store(folder, spec, job, "failed", error or _ended(code))


def training_command(folder: StudyFolder, spec: StudySpec, job: Job) -> list[str]:
    """The command that trains a job, or resumes it."""
    run = folder.run(job).folder
    shared = ["--processes", str(spec.processes)] if spec.processes > 1 else []
    if (run / RECORD).is_file():
        return [job.recipe.method.kind, "--resume", str(run), *shared]
    start = [f"lora.start={folder.run(job.start)}"] if job.start else []
    recipe = ["--recipe", job.spec.recipe, *(["--nano"] if job.nano else [])]
    return [job.recipe.method.kind, *recipe, *shared, "--out", str(run), *job.overrides, *start]


def evaluation_commands(run: Run, spec: StudySpec, job: Job) -> list[list[str]]:
    """The commands that evaluate a run that was trained again, without its base model."""
    return [
        _eval_command(run.folder, evaluation_folder(run, source, prompts), spec, on, prompts, with_base=False)
        for source, on, prompts in evaluations(spec, job.recipe)
    ]


def _eval_command(run: Path, where: Path, spec: StudySpec, on: str | None, prompts: str, with_base: bool) -> list[str]:
    options = ["--prompts", prompts] if spec.eval.prompts else []
    options += ["--on", on] if on else []
    options += ["--questions", str(spec.eval.max_questions)] if spec.eval.max_questions else []
    options += ["--with-base"] if with_base else []
    options += ["--processes", str(spec.processes)] if spec.processes > 1 else []
    return ["eval", str(run), "--controls", "0", *options, "--out", str(where)]


def is_done(folder: StudyFolder, spec: StudySpec, job: Job) -> bool:
    """Whether nothing of a job is missing."""
    record = folder.record(job)
    return (
        record is not None
        and record.status == "finished"
        and folder.is_trained(job)
        and all(
            _is_evaluated(evaluation_folder(folder.run(job), source, prompts), job.arm in spec.eval.base)
            for source, _, prompts in evaluations(spec, job.recipe)
        )
    )


def _is_evaluated(where: Path, with_base: bool) -> bool:
    """Whether an evaluation has reached its end, where its report is written."""
    report = where / results_folder.REPORT
    if not report.is_file():
        return False
    systems = {system for part in read_record(report, EvalReport).splits.values() for system in part.results}
    return {"tuned", *(["base"] if with_base else [])} <= systems


def _wait_for_orphan(run: Run, commands: Commands) -> None:
    """Wait while a command of a killed study still writes its checkpoint."""
    reported = False
    while (run.folder / RECORD).is_file() and (process := holder(run.folder / LOCK)) and not commands.stopped_by:
        if not reported:
            commands.log(f"{run.folder.name}  waiting for {process}, which still trains this run")
        reported = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _store(folder: StudyFolder, spec: StudySpec, job: Job, status: Status, error: str = "") -> Outcome:
    """Write the record of a job, and return what became of it."""
    before, file = folder.record(job), folder.run(job).folder / RECORD
    digest = before.base_digest if before else None
    recipe_digest = folder.run(job).record.recipe_digest if file.is_file() else None
    start = before.start_sha256 if before and file.is_file() else None  # a run that begins again has the present one
    folder.write_record(
        JobRecord(
            arm=job.arm,
            seed=job.seed,
            digest=job.digest,
            status=status,
            error=error or None,
            recipe_digest=recipe_digest,
            start_sha256=start or (folder.adapter_sha256(job.start) if job.start else None),
            max_questions=spec.eval.max_questions,
            base_digest=weights_digest(job.recipe.model.name, nano_folder()) if status == "finished" else digest,
        ),
        job,
    )
    return Outcome(job, status, error)


def _ended(code: int) -> str:
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"


def require_jobs(jobs: Sequence[Job], name: str) -> Job:
    """The job of a name.

    Raises:
        RunError: there is none.
    """
    by_name = {job.name: job for job in jobs}
    if name not in by_name:
        raise RunError(f"the study has no run `{name}`", ", ".join(by_name), "name one of these: ARM-seedN")
    return by_name[name]
