"""Export target `hub`: upload a folder to the Hugging Face hub, after a search for patient data. Private by default."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed.adapter.copy import write_plain_copy
from lowmed.errors import LowmedError, RecipeError, RunError, SetupError
from lowmed.files import disk_errors, write_json
from lowmed.ship.export import ExportRequest, list_files
from lowmed.ship.package import EXAMPLE, example, write_package
from lowmed.ship.phi_guard import PhiFinding, find_phi
from lowmed.ship.records import PACKAGE, PARITY, ExportReport, Report, VerifyReport, read_versioned
from lowmed.ship.verify import check_adapter

if TYPE_CHECKING:
    from lowmed.ship.merge_job import MergeJob

SHOWN = 10
IGNORED = ["*.tmp", ".*"]


def export_hub(request: ExportRequest) -> ExportReport:
    """Stage the adapter of a run, or take a folder that was exported before; list it, search it, and upload it.

    Nothing is uploaded without `request.upload`.

    Raises:
        LowmedError: no repository is named, the folder failed a check or may hold patient data, or the hub refuses it.
    """
    if request.repository is None:
        raise RecipeError("there is no repository", "--repo", "name it: --repo OWNER/NAME")
    checks: Report | None = None
    folder = Path(request.source)
    if not request.is_exported:
        job = request.plan_merge(request.new_folder())
        checks, folder = stage_adapter(job)
        if not checks.passed:
            return ExportReport(request.target, str(folder), {}, checks)
    files = list_files(require_exported(folder))
    for name, size in files.items():
        request.log(f"{size:>14,} bytes  {name}")
    visibility = "PUBLIC" if request.public else "private"
    request.log(f"{sum(files.values()):>14,} bytes in {len(files)} files, to {request.repository}, {visibility}")
    check_upload(folder, request.reviewed)
    url = upload_folder(folder, request.repository, public=request.public) if request.upload else None
    return ExportReport(
        request.target,
        str(folder),
        files,
        checks,
        repository=request.repository,
        private=not request.public,
        url=url,
        instructions=""
        if url
        else f"# Nothing was uploaded. To upload:\nlowmed export {folder} --to hub --repo {request.repository} --yes",
    )


def stage_adapter(job: "MergeJob") -> tuple[VerifyReport, Path]:
    """Write the adapter with everything a user needs; move it to `job.out` if every check passes.

    Returns:
        The checks, and the folder: the output folder, or the staging folder if a check failed.

    Raises:
        LowmedError: the machine, the model or the disk does not allow it.
    """
    staging = job.out.with_name(f".{job.out.name}.exporting")
    shutil.rmtree(staging, ignore_errors=True)
    write_package(job.run, job.inputs.folder, staging, "adapter")
    with disk_errors(staging):
        for file in job.run.adapter.iterdir():
            shutil.copyfile(file, staging / file.name)
    if job.inputs.adapter.renamed:  # PEFT ignores layers whose names it does not know
        write_plain_copy(job.inputs.adapter, staging)
    checks = list(job.checks)
    if job.questions:
        checks += check_adapter(job.model, job.inputs.folder, job.run.adapter, job.questions)[0]
    report = VerifyReport(tuple(checks), measured=job.questions is not None)
    write_json(staging / PARITY, report.as_json())
    if not report.passed:
        return report, staging
    with disk_errors(job.out):
        staging.replace(job.out)
    return report, job.out


def require_exported(folder: Path) -> Path:
    """The folder, if an export has created it.

    Raises:
        RunError: it does not exist, or was not exported.
    """
    if not (folder / PACKAGE).is_file():
        problem = "this is not an exported folder" if folder.exists() else "the folder does not exist"
        raise RunError(problem, str(folder), "create one: lowmed export RUN --to merged --out DIR")
    return folder


def check_upload(folder: Path, reviewed: tuple[str, ...]) -> None:
    """Refuse a folder that failed a check, or that may hold patient data.

    Args:
        folder: what would be uploaded.
        reviewed: files of it that a person has checked for patient data.

    Raises:
        RunError: there is such a problem.
    """
    parity = folder / PARITY
    if not parity.is_file() or not read_versioned(parity)["passed"]:
        raise RunError("the folder has not passed its checks", str(parity), "export the run again")
    unknown = sorted(set(reviewed) - list_files(folder).keys())
    if unknown:
        raise RunError("a reviewed file does not exist", unknown[0], "name files of the folder with --reviewed")
    findings = [finding for finding in search(folder) if finding.file not in reviewed]
    if findings:
        lines = [str(finding) for finding in findings[:SHOWN]]
        if len(findings) > SHOWN:
            lines.append(f"and {len(findings) - SHOWN} more")
        raise RunError(
            f"the folder may contain patient data: {len(findings)} findings",
            "\n".join(lines),
            "remove them; name a file that you have checked with --reviewed FILE",
        )


def search(folder: Path) -> list[PhiFinding]:
    """Possible patient data in an exported folder. Files that lowmed ships are not searched."""
    shipped = [example(kind).read_bytes() for kind in ("merged", "adapter", "served")]
    script = (folder / EXAMPLE).read_bytes() if (folder / EXAMPLE).is_file() else b""
    known = {EXAMPLE: script} if script in shipped else {}
    license_file = folder / "LICENSE"
    if license_file.is_file() and b"Apache License" in license_file.read_bytes()[:200]:
        known["LICENSE"] = license_file.read_bytes()
    return find_phi(folder, known)


def upload_folder(folder: Path, repository: str, *, public: bool) -> str:
    """Create the repository and upload the folder; returns its URL.

    Raises:
        SetupError: the hub cannot be reached or refuses the upload.
        RunError: the repository exists and is public, but a private one is wanted.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        url = api.create_repo(repository, private=not public, exist_ok=True)
        if not public and not api.model_info(repository).private:
            raise RunError(
                "the repository exists and is public", repository, "make it private, choose another, or pass --public"
            )
        api.upload_folder(folder_path=folder, repo_id=repository, ignore_patterns=IGNORED)
    except LowmedError:
        raise
    except Exception as error:  # the hub's client raises its own errors, httpx's, and OSError
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SetupError(
            f"the hub refused the upload: {reason}", repository, "check the name, and log in with `hf auth login`"
        ) from error
    return str(url)
