"""Trains one run of a study again in a temporary folder, and compares its completions with the stored ones."""

import tempfile
from pathlib import Path

from lowmed.errors import RunError
from lowmed.nano import folder as nano_folder
from lowmed.progress import Log
from lowmed.run import RECIPE, Run
from lowmed.study.commands import Commands
from lowmed.study.completions import Completions, read_completions, scores
from lowmed.study.execute import evaluation_commands
from lowmed.study.folder import StudyFolder, evaluation_folder, evaluations, sha256, weights_digest
from lowmed.study.jobs import Job
from lowmed.study.records import Agreement, RerunReport
from lowmed.study.spec import StudySpec


def rerun(folder: StudyFolder, spec: StudySpec, job: Job, log: Log) -> RerunReport:
    """Train and evaluate a run again. It starts from the stored adapter of its start, if it has one.

    Raises:
        RunError: its completions are missing, or a command failed or was interrupted. Nothing of the study was changed.
    """
    before = [_read(folder.run(job), job, *names) for names in _evaluations(spec, job)]  # before hours of training
    commands = Commands(log)
    with tempfile.TemporaryDirectory(prefix="lowmed-study-") as temporary, commands.forward_signals():
        again = Run(Path(temporary) / job.name)
        stored = folder.run(job)
        start = [f"lora.start={folder.run(job.start)}"] if job.start else []
        train = [job.recipe.method.kind, "--recipe", str(stored.folder / RECIPE), "--out", str(again), *start]
        for arguments in (train, *evaluation_commands(again, spec, job)):
            code, error = commands.run(job.name, arguments)
            if code or commands.stopped_by:
                what = error or f"exit code {code}"
                raise RunError(f"the run could not be repeated: {what}", job.name, "correct that, then repeat")
        after = [_read(again, job, *names) for names in _evaluations(spec, job)]
        weights = [run.adapter / "adapter_model.safetensors" for run in (stored, again)]
        return RerunReport(
            run=job.name,
            same_adapter=sha256(weights[0]) == sha256(weights[1]),
            differs=tuple(_differs(folder, job, again)),
            agreements=tuple(_agreement(folder, *sides, spec.eval.grade) for sides in zip(before, after, strict=True)),
        )


def _differs(folder: StudyFolder, job: Job, again: Run) -> list[str]:
    """The inputs of the two runs that differ."""
    one, other, stored = folder.run(job).record, again.record, folder.record(job)
    lines = [
        f"{name}: stored {getattr(one, name)}, now {getattr(other, name)}"
        for name in ("data_digest", "pairs_digest", "unpaired_digest", "base_commit", "card", "precision", "backend")
        if getattr(one, name) != getattr(other, name)
    ]
    packages = (one.versions or {}).keys() | (other.versions or {}).keys()
    for package in sorted(packages):
        versions = [(record.versions or {}).get(package) for record in (one, other)]
        lines += [f"{package}: stored {versions[0]}, now {versions[1]}"] if versions[0] != versions[1] else []
    base = weights_digest(job.recipe.model.name, nano_folder())
    if stored and stored.base_digest != base:
        lines.append("the weights of the base model")
    return lines


def _evaluations(spec: StudySpec, job: Job) -> list[tuple[str, str]]:
    return [(source, prompts) for source, _, prompts in evaluations(spec, job.recipe)]


def _read(run: Run, job: Job, source: str, prompts: str) -> Completions:
    return read_completions(evaluation_folder(run, source, prompts), job.arm, job.seed, source, prompts, "tuned")


def _agreement(folder: StudyFolder, stored: Completions, repeated: Completions, grade: str) -> Agreement:
    one, other = ({(row["split"], row["id"]): row for row in side.rows} for side in (stored, repeated))
    shared = [key for key in one if key in other]
    graded = [scores([{**side[key], "id": key} for key in shared], grade) for side in (one, other)]
    values = [list(part.values()) for part in graded]
    return Agreement(
        file=stored.file.relative_to(folder.folder).as_posix(),
        questions=len(shared),
        equal=sum(one[key]["completion"] == other[key]["completion"] for key in shared),
        same_grade=sum(a == b for a, b in zip(*values, strict=True)),
        stored=sum(values[0]) / max(1, len(values[0])),
        repeated=sum(values[1]) / max(1, len(values[1])),
    )
