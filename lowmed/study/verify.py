"""Derives the table of a study again from its stored completions, and lists what does not agree with study.json."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from lowmed.answer import RULES_VERSION
from lowmed.errors import LowmedError, RunError
from lowmed.records import Part, read_record
from lowmed.run import RECORD, Run
from lowmed.study.completions import Completions
from lowmed.study.folder import STUDY, StudyFolder, sha256
from lowmed.study.jobs import Job
from lowmed.study.read import load_study
from lowmed.study.records import StudyCell, StudyRecord, StudyRun
from lowmed.study.results import build, completions_of, study_run
from lowmed.study.spec import StudySpec

TOLERANCE = 1e-9  # of figures, which another processor may round differently


def open_results(folder: StudyFolder) -> tuple[StudySpec, StudyRecord]:
    """The stored study file and results.

    Raises:
        RunError: the folder holds no results of a study, or they are damaged.
    """
    for file in (folder.study, folder.results):
        if not file.is_file():
            raise RunError("no results of a study", str(file), "lowmed study STUDY --out FOLDER makes them")
    return load_study(folder.study), read_record(folder.results, StudyRecord)


def stored_jobs(folder: StudyFolder, spec: StudySpec) -> dict[str, Job]:
    """Name -> job, with the recipes that the run directories hold. Runs that were never started are left out."""
    jobs: dict[str, Job] = {}

    def add(arm: str, seed: int) -> Job | None:
        name = f"{arm}-seed{seed}"
        run = folder.folder / "runs" / name
        if name not in jobs and (run / RECORD).is_file():
            start = spec.arms[arm].start
            above = add(start, seed) if start else None
            jobs[name] = Job(arm, seed, spec.arms[arm], Run(run).recipe, above, spec.nano)
        return jobs.get(name)

    for seed in spec.seeds:
        for arm in spec.arms:
            add(arm, seed)
    return jobs


def problems(folder: StudyFolder, spec: StudySpec, stored: StudyRecord) -> tuple[list[str], int]:
    """What does not agree, one line each, and the number of completions from which the table was derived."""
    lines: list[str] = []
    if stored.rules != RULES_VERSION:
        lines.append(f"the table was made with answer rules {stored.rules}, this version has {RULES_VERSION}")
    completions: list[Completions] = []
    runs: list[StudyRun] = []
    jobs = stored_jobs(folder, spec)
    for run in stored.runs:
        name = f"{run.arm}-seed{run.seed}"
        job = jobs.get(name)
        if run.status != "finished":
            runs.append(run)
            continue
        if job is None or not folder.is_trained(job):
            lines.append(f"runs/{name} has been removed or is not finished any more")
            runs.append(run)
            continue
        if folder.is_foreign(job):
            lines.append(
                f"runs/{name} is another run than the one that the study trained, or the one that it starts from is"
            )
        try:
            of_run = completions_of(folder, spec, job)
        except LowmedError as error:
            lines.append(f"{_inside(folder, error.where)}: {error.what}")
            runs.append(run)
            continue
        completions += of_run
        runs.append(study_run(folder, job, of_run))
        lines += [f"runs/{name}: {line}" for line in _run_changes(run, runs[-1])]
    wanted = {(arm, seed) for arm in spec.arms for seed in spec.seeds}
    if wanted != {(run.arm, run.seed) for run in stored.runs} or len(wanted) != len(stored.runs):
        lines.append(f"study.json does not list the runs of {STUDY}")
    derived = build(spec, sha256(folder.study), tuple(runs), completions)
    for name in ("about", "nano", "seeds", "grade", "max_questions", "study_sha256", "complete", "digest"):
        if getattr(stored, name) != getattr(derived, name):
            lines.append(f"{name} in study.json is {getattr(stored, name)}, derived {getattr(derived, name)}")
    lines += _cells("accuracy", stored.accuracies, derived.accuracies)
    lines += _cells("comparison", stored.comparisons, derived.comparisons)
    return lines, sum(len(one.rows) for one in completions)


def _inside(folder: StudyFolder, where: str) -> str:
    return where.removeprefix(f"{folder.folder}/")


def _run_changes(stored: StudyRun, derived: StudyRun) -> Iterator[str]:
    """What has changed in a run: its inputs, its adapter, and its completions by file."""
    for name in StudyRun.model_fields:
        one, other = getattr(stored, name), getattr(derived, name)
        if name != "files" and one != other:
            yield f"{name} in study.json is {_short(one)}, of the run {_short(other)}"
    files = {one.file: one for one in derived.files}
    for one in stored.files:
        if one != files.pop(one.file, None):
            yield f"{one.file} or its settings.json have changed since the table was made"
    for name in files:
        yield f"{name} is not listed in study.json"


def _cells(kind: str, stored: Sequence[StudyCell], derived: Sequence[StudyCell]) -> Iterator[str]:
    one, other = ({_key(cell): cell for cell in cells} for cells in (stored, derived))
    if len(one) != len(stored):
        yield f"study.json has a row of the {kind} table twice"
    for key in [*one, *(key for key in other if key not in one)]:
        name = f"{kind} {', '.join(key)}"
        if key not in other:
            yield f"{name}: the stored completions do not give this row"
        elif key not in one:
            yield f"{name}: study.json lacks this row"
        elif changed := [field for field in type(one[key]).model_fields if not _equal(one[key], other[key], field)]:
            field = changed[0]
            first, second = getattr(one[key], field), getattr(other[key], field)
            yield f"{name}: {field} in study.json is {_short(first)}, derived {_short(second)}"


def _key(cell: StudyCell) -> tuple[str, ...]:
    names = ("arm", "label", "first", "second", "first_prompts", "prompts", "source", "split")
    return tuple(str(getattr(cell, name)) for name in names if hasattr(cell, name))


def _equal(one: Part, other: Part, field: str) -> bool:
    return _close(getattr(one, field), getattr(other, field))


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=TOLERANCE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_close, one, other))
    return bool(one == other)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
