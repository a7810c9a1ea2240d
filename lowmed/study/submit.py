"""Submits the jobs of a study: to Slurm or to processes of this machine by submitit, or as tasks of SkyPilot."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lowmed.errors import RecipeError, SetupError
from lowmed.files import write_text
from lowmed.progress import Log
from lowmed.study.folder import StudyFolder
from lowmed.study.jobs import Job
from lowmed.study.spec import StudySpec

MINUTES = 24 * 60
REQUEUES = 30  # after a time limit; each goes on from a checkpoint
DEFAULTS: dict[str, Any] = {
    "timeout_min": MINUTES,
    "slurm_additional_parameters": {"kill-on-invalid-dep": "yes"},  # else a job waits for ever for one that failed
}


@dataclass
class JobCommand:
    """One job of a study as submitit runs it: the same command as by hand, stopped with a checkpoint before a limit."""

    arguments: list[str]
    process: Any = field(default=None, repr=False)

    def __call__(self) -> int:
        """Run the command; submitit reports an exit code other than 0 as a failure, on which `afterok` jobs depend."""
        command = [sys.executable, "-m", "lowmed", *self.arguments]
        self.process = subprocess.Popen(command, preexec_fn=_ignore_warning)
        code = self.process.wait()
        if code:
            raise subprocess.CalledProcessError(code, self.arguments)
        return 0

    def checkpoint(self) -> Any:
        """Before the time limit or a preemption: stop after the present step, then queue the same command again."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            os.waitpid(self.process.pid, 0)  # not Popen.wait, whose lock the interrupted call holds
        return DelayedSubmission(JobCommand(self.arguments))

    def __getstate__(self) -> dict[str, Any]:
        """Without the process, which cannot be sent to another machine."""
        return {"arguments": self.arguments, "process": None}


def _ignore_warning() -> None:
    """Slurm sends the warning before a time limit to all processes of a job. It would end training at once."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def job_arguments(study: Path, folder: StudyFolder, job: Job) -> list[str]:
    """The command that runs one job."""
    return ["study", str(study), "--out", str(folder.folder), "--only", job.name]


def require_submitit() -> Any:
    """The package.

    Raises:
        SetupError: it is not installed.
    """
    try:
        import submitit
    except ImportError:
        fix = "pip install 'lowmed[slurm]'"
        raise SetupError("the package submitit is not installed", "--submit", fix) from None
    return submitit


def submit_local(study: Path, folder: StudyFolder, spec: StudySpec, jobs: Sequence[Job], log: Log) -> list[str]:
    """Run the jobs as processes of submitit on this machine, one at a time, since they share its GPU.

    Returns:
        One line for each job that failed.
    """
    submitit = require_submitit()
    executor = submitit.LocalExecutor(folder=folder.folder / "submitit")
    named = [int(one) for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.isdecimal()]
    visible = tuple(named or range(spec.processes))  # without it, submitit hides all GPUs
    executor.update_parameters(timeout_min=MINUTES, gpus_per_node=len(visible), visible_gpus=visible)
    failed = []
    for job in jobs:
        submitted = executor.submit(JobCommand(job_arguments(study, folder, job)))
        log(f"{job.name}  process {submitted.job_id}")
        if error := submitted.exception():
            failed.append(f"{job.name}: {str(error).strip().splitlines()[-1]}")
            log(f"{job.name}  failed; its output is in {submitted.paths.stderr}")
    return failed


def submit_slurm(study: Path, folder: StudyFolder, spec: StudySpec, jobs: Sequence[Job], log: Log) -> list[str]:
    """Submit one Slurm job a run; a run that starts from another waits until that has succeeded (`afterok`).

    Returns:
        The ids of the jobs.

    Raises:
        SetupError: there is no Slurm here, or it refuses a job.
        RecipeError: the study has parameters that submitit does not have.
    """
    submitit = require_submitit()
    submitted: dict[str, str] = {}
    for job in jobs:
        try:
            executor = submitit.AutoExecutor(
                folder.folder / "submitit", cluster="slurm", slurm_max_num_timeout=REQUEUES
            )
            executor.update_parameters(name=job.name, **slurm_parameters(spec, job, submitted))
            submitted[job.name] = executor.submit(JobCommand(job_arguments(study, folder, job))).job_id
        except (NameError, TypeError, ValueError) as error:
            raise RecipeError(f"submitit refuses the parameters: {_first(error)}", "slurm", "correct them") from error
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            fix = "submit from a login node of a Slurm cluster"
            raise SetupError(f"Slurm does not take the job: {_first(error)}", "--submit slurm", fix) from error
        log(f"{job.name}  Slurm job {submitted[job.name]}")
    return list(submitted.values())


def slurm_parameters(spec: StudySpec, job: Job, submitted: dict[str, str]) -> dict[str, Any]:
    """The parameters of one job; those of the study come last.

    Args:
        spec: the study.
        job: the job.
        submitted: name -> Slurm id of the jobs before it.
    """
    parameters = DEFAULTS | {"gpus_per_node": spec.processes} | dict(spec.slurm)
    if job.start and job.start.name in submitted:
        parameters["slurm_dependency"] = f"afterok:{submitted[job.start.name]}"
    return parameters


def write_skypilot(study: Path, folder: StudyFolder, spec: StudySpec, jobs: Sequence[Job]) -> list[Path]:
    """Write one task of SkyPilot a job into `skypilot/`. Nothing is started.

    The keys of the study's section `skypilot` come first, e.g. resources, setup and file_mounts for the study's folder.
    """
    files = []
    for job in jobs:
        command = shlex.join(["python", "-m", "lowmed", *job_arguments(study, folder, job)])
        task = {"name": job.name.lower().replace("_", "-").replace(".", "-"), **spec.skypilot, "run": command}
        file = folder.folder / "skypilot" / f"{job.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        after = f"# after {job.start.name}.yaml has ended\n" if job.start else ""
        write_text(file, after + yaml.safe_dump(task, sort_keys=False, width=120))
        files.append(file)
    return files


def _first(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
