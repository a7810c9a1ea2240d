"""The folder of a study: its file, runs, job records and results."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lowmed.errors import RunError
from lowmed.files import require_own_folder
from lowmed.recipe import Recipe
from lowmed.records import read_record
from lowmed.run import RECORD, Run
from lowmed.study.jobs import Job
from lowmed.study.records import JobRecord
from lowmed.study.spec import OWN, StudySpec

STUDY = "study.yaml"
RESULTS, PAGE, TABLE = "study.json", "study.html", "table.tex"


@dataclass(frozen=True)
class StudyFolder:
    """The paths of a study."""

    folder: Path

    @property
    def study(self) -> Path:
        """The stored study file."""
        return self.folder / STUDY

    @property
    def results(self) -> Path:
        """study.json."""
        return self.folder / RESULTS

    def run(self, job: Job) -> Run:
        """The run directory of a job; it may not exist yet."""
        return Run(self.folder / "runs" / job.name)

    def record_file(self, job: Job) -> Path:
        """The record of a job."""
        return self.folder / "jobs" / f"{job.name}.json"

    def lock_file(self, job: Job) -> Path:
        """The lock that the process holds which runs the job."""
        return self.folder / "jobs" / f"{job.name}.lock"

    def record(self, job: Job) -> JobRecord | None:
        """The state of a job; None if it was never started.

        Raises:
            RunError: the record is damaged, or written by a newer version.
        """
        file = self.record_file(job)
        return read_record(file, JobRecord) if file.is_file() else None

    def write_record(self, record: JobRecord, job: Job) -> None:
        """Store the state of a job."""
        file = self.record_file(job)
        file.parent.mkdir(parents=True, exist_ok=True)
        record.write(file)

    def is_foreign(self, job: Job) -> bool:
        """Whether another run is in the place of a job's run, or of the one that it started from."""
        run, record = self.run(job), self.record(job)
        if record is None or not (run.folder / RECORD).is_file():
            return False
        start = self.adapter_sha256(job.start) if job.start else None
        return (record.recipe_digest or run.record.recipe_digest) != run.record.recipe_digest or (
            start is not None and (record.start_sha256 or start) != start
        )

    def adapter_sha256(self, job: Job) -> str | None:
        """SHA-256 of the adapter of a job; None if there is none yet."""
        weights = self.run(job).adapter / "adapter_model.safetensors"
        return sha256(weights) if weights.is_file() else None

    def is_trained(self, job: Job) -> bool:
        """Whether the run of a job has finished."""
        run = self.run(job)
        return (run.folder / RECORD).is_file() and run.record.status == "finished" and run.adapter.is_dir()


def evaluation_folder(run: Run, source: str, prompts: str) -> Path:
    """The results directory of one evaluation of a run."""
    return run.folder / "evals" / (source if prompts == OWN else f"{source}-{prompts}")


def evaluations(spec: StudySpec, recipe: Recipe) -> list[tuple[str, str | None, str]]:
    """What a run is evaluated on: name of the source, `--on` of it (None for the run's own data), prompt family."""
    sources: list[tuple[str, str | None]] = [(on.partition("=")[0], on) for on in spec.eval.sources]
    return [(source, on, prompts) for source, on in sources or [(recipe.data.name, None)] for prompts in spec.prompts]


def require_unchanged(folder: StudyFolder, spec: StudySpec, jobs: list[Job]) -> None:
    """Refuse to continue in a folder whose runs are not those of this study file.

    Raises:
        RunError: the folder is not a study; or a run has another recipe, overrides, seed or start; or its evaluation
            has another limit of questions. Nothing was written.
    """
    require_own_folder(folder.folder, STUDY)
    changed, limited = [], []
    for job in jobs:
        run, record = folder.run(job), folder.record(job)
        if not run.folder.exists():
            continue
        if record is None or record.digest != job.digest or folder.is_foreign(job):
            changed.append(run.folder)
        elif record.max_questions != spec.eval.max_questions and any(run.folder.glob("evals/*/settings.json")):
            limited.append(run.folder / "evals")
    if changed:
        raise RunError(
            "the recipe, overrides, seed or start of an arm have changed, or another run is in its place",
            "\n".join(map(str, changed)),
            "restore the study file, choose another --out, or remove these runs: lowmed runs rm RUN",
        )
    if limited:
        raise RunError(
            "eval.max_questions has changed since these evaluations were made",
            "\n".join(map(str, limited)),
            "restore the study file, choose another --out, or remove these folders",
        )


def sha256(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def weights_digest(model: str, nano: Path) -> str | None:
    """SHA-256 over the weights of a base model on this machine; None for a model of the hub.

    Args:
        model: `model.name` of a recipe.
        nano: folder of the embedded model.
    """
    folder = nano if model == "nano" else Path(model).expanduser()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return None
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()
