"""A folder onto the Hugging Face hub: looked through first, private unless told otherwise, and never by itself."""

from pathlib import Path

from lowmed.errors import LowmedError, RunError, SetupError
from lowmed.files import read_json
from lowmed.ship import package as folders
from lowmed.ship import phi_guard
from lowmed.ship.phi_guard import Finding

SHOWN = 10
LEAVE_OUT = ["*.tmp", ".*"]


def listing(folder: Path) -> list[tuple[str, int]]:
    """Every file that would be uploaded, with its bytes.

    Raises:
        RunError: it is no folder that an export has made.
    """
    if not (folder / folders.ABOUT).is_file():
        raise RunError("this is no exported folder", str(folder), "make one: lowmed export RUN --to merged --out DIR")
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [(str(path.relative_to(folder)), path.stat().st_size) for path in files]


def check(folder: Path, reviewed: list[str]) -> None:
    """Refuse a folder that failed its own measurement, or in which anything looks like a patient.

    Args:
        folder: what would leave.
        reviewed: files of it that somebody has looked through.

    Raises:
        RunError: there is such a thing.
    """
    parity = folder / "parity.json"
    if not parity.is_file() or not read_json(parity)["passed"]:
        raise RunError("the folder has not passed its checks", str(parity), "export it again")
    unknown = sorted(set(reviewed) - {name for name, _ in listing(folder)})
    if unknown:
        raise RunError("there is no such file to have been reviewed", unknown[0], "name files of the folder")
    result: list[Finding] = [each for each in findings(folder) if each.file not in reviewed]
    if result:
        told = [str(each) for each in result[:SHOWN]]
        more = len(result) - len(told)
        raise RunError(
            f"{len(result)} things in the folder may tell of patients",
            "\n".join([*told, *([f"and {more} more"] if more else [])]),
            "take them out; a file that you have looked through may go with --reviewed FILE",
        )


def findings(folder: Path) -> list[Finding]:
    """What the guard sees in an exported folder."""
    here = Path(folders.__file__)
    examples = [here.with_name(f"example_{form}.py").read_bytes() for form in ("merged", "adapter", "served")]
    own = (folder / folders.EXAMPLE).read_bytes() if (folder / folders.EXAMPLE).is_file() else b""
    known = {folders.EXAMPLE: own} if own in examples else {}
    licence = folder / "LICENSE"
    if licence.is_file() and b"Apache License" in licence.read_bytes()[:200]:
        known["LICENSE"] = licence.read_bytes()
    return phi_guard.findings(folder, known)


def upload(folder: Path, repository: str, *, public: bool) -> str:
    """Create the repository and upload the folder; its address.

    Raises:
        SetupError: the hub cannot be reached or says no.
        RunError: the repository is there already, and more people see it than was asked for.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repository, private=not public, exist_ok=True)
        if not public and not api.model_info(repository).private:
            raise RunError(
                "the repository exists and is public", repository, "make it private, choose another, or say --public"
            )
        api.upload_folder(folder_path=folder, repo_id=repository, ignore_patterns=LEAVE_OUT)
    except LowmedError:
        raise
    except Exception as error:  # the hub's client raises its own, httpx's and the system's errors
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SetupError(
            f"the hub did not take it: {first}", repository, "check the name, and log in with `hf auth login`"
        ) from error
    return str(address)
