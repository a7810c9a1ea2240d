"""The results directory of one evaluation: its settings, and the completions of each system and condition."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, FiniteFloat

from lowmed import processes
from lowmed.errors import RunError
from lowmed.evaluation.controls import REAL
from lowmed.evaluation.records import EvalSettings, StoredProbabilities, TimedJudgeUsage
from lowmed.files import append_jsonl, disk_errors, read_jsonl, require_own_folder
from lowmed.judge.records import JudgeIdentity
from lowmed.records import Line, check_lines, read_record
from lowmed.sample import Kind

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
    require_own_folder(folder)
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


class _CompletionLine(Line):
    """The fields of a stored completion that its grade depends on."""

    id: str
    split: str
    kind: Kind
    question: str
    answer: str
    group: str
    completion: str
    tokens: int
    finish_reason: str
    options: list[str] = Field(default_factory=list)
    images: list[str] = Field(default_factory=list)
    modality: str = ""
    topic: str = ""
    strata: dict[str, str] = Field(default_factory=dict)
    prior: str | None = None
    image_size: list[int] = Field(default_factory=list)
    box_grid: list[int] = Field(default_factory=list)


class _ProbabilityLine(Line):
    """The fields of stored probabilities."""

    split: str
    id: str
    options: list[str] = Field(min_length=2)
    log_probs: list[FiniteFloat] | None


class _ScoredLine(Line):
    """The fields of a row of `lowmed score --out` by which rows are paired; its scores are computed again."""

    id: str | int
    split: str = ""
    group: str | int = ""


class _VerdictLine(Line):
    """The fields of a stored verdict."""

    system: str
    split: str
    id: str
    judge: JudgeIdentity
    query: str
    value: bool
    by: str


def read_rows(file: Path, *, repair: bool = True) -> list[dict[str, Any]]:
    """Read the completions of an evaluation. An incomplete last line is removed from it, to be generated again.

    Args:
        file: the completions.
        repair: whether to remove that line; without it the file stays as it is.

    Raises:
        RunError: another line is damaged.
    """
    return _read(file, _CompletionLine, repair=repair)


def read_scored(file: Path) -> list[dict[str, Any]]:
    """Read the rows of `lowmed score --out`; errors as of `read_rows`."""
    return _read(file, _ScoredLine)


def read_verdicts(file: Path) -> list[dict[str, Any]]:
    """Read the verdicts of judges; errors as of `read_rows`."""
    return _read(file, _VerdictLine)


def probabilities_file(folder: Path, system: str) -> Path:
    """The file with the probabilities of a system's answers."""
    return folder / f"probabilities.{system}.jsonl"


def read_probabilities(folder: Path, system: str) -> list[StoredProbabilities]:
    """Read the probabilities of a system's answers; errors as of `read_rows`. Empty without the file."""
    lines: list[Any] = _read(probabilities_file(folder, system), _ProbabilityLine)
    return lines


def read_usage(file: Path) -> list[dict[str, Any]]:
    """Read the requests to judges; errors as of `read_rows`."""
    return _read(file, TimedJudgeUsage)


def _read(file: Path, fields: type[BaseModel], *, repair: bool = True) -> list[dict[str, Any]]:
    fix = "delete the line and repeat the command, which generates it again"
    rows = read_jsonl(file, fix=fix, repair=repair)
    check_lines(rows, file, fields, fix=fix)
    return rows


def append_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a JSON-lines file of an evaluation; only the first process does it."""
    if processes.is_first():
        append_jsonl(file, rows, ascii_only=True)
