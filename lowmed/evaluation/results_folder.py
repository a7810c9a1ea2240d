"""The results directory of one evaluation: its settings, and the completions of each system and condition."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lowmed.errors import RunError
from lowmed.evaluation.controls import REAL
from lowmed.evaluation.records import EvalSettings
from lowmed.files import append_jsonl, disk_errors, read_jsonl
from lowmed.records import read_record

SETTINGS = "settings.json"
REPORT = "report.json"
SYSTEMS = ("base", "tuned", "endpoint")


def open_folder(folder: Path, settings: EvalSettings) -> None:
    """Create the results directory, or resume one with identical settings.

    Raises:
        RunError: it holds an evaluation with other settings, or other files.
        SetupError: it is not writable.
    """
    file = folder / SETTINGS
    if file.is_file():
        stored, wanted = read_record(file, EvalSettings).as_json(), settings.as_json()
        different = sorted(key for key in wanted.keys() | stored.keys() if wanted.get(key) != stored.get(key))
        if different:
            raise RunError(
                f"the directory holds an evaluation with other settings ({', '.join(different)})",
                str(folder),
                "choose another --out, or remove that directory",
            )
        return
    # A killed process may have left the hidden temporary file of the settings.
    if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise RunError("the directory is not empty and not an evaluation", str(folder), "choose another --out")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    settings.write(file)


def read_settings(folder: Path) -> EvalSettings:
    """Read the settings of an evaluation that has completions.

    Raises:
        RunError: the directory is not an evaluation, or holds no completions.
    """
    if not (folder / SETTINGS).is_file() or not systems(folder):
        raise RunError("no evaluation with completions", str(folder), "run `lowmed eval` first")
    return read_record(folder / SETTINGS, EvalSettings)


def evaluations(run_folder: Path) -> list[Path]:
    """The results directories of a run."""
    return sorted(file.parent for file in (run_folder / "evals").glob(f"*/{SETTINGS}"))


def completions_file(folder: Path, system: str, condition: str) -> Path:
    """The file with the completions of `base`, `tuned` or `endpoint` in a condition."""
    return folder / (f"{system}.jsonl" if condition == REAL else f"{system}.{condition}.jsonl")


def systems(folder: Path) -> list[str]:
    """The systems with completions in the real condition."""
    return [system for system in SYSTEMS if completions_file(folder, system, REAL).is_file()]


def conditions(folder: Path, system: str) -> list[str]:
    """The conditions in which a system has completions."""
    names = sorted(file.name.removeprefix(system).removesuffix(".jsonl") for file in folder.glob(f"{system}*.jsonl"))
    return [name.removeprefix(".") or REAL for name in names]


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file of an evaluation. An incomplete last line is removed from it, to be generated again.

    Raises:
        RunError: another line is damaged.
    """
    return read_jsonl(file, fix="delete the line and repeat the command, which generates it again", repair=True)


def append_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a JSON-lines file of an evaluation."""
    append_jsonl(file, rows, ascii_only=True)
