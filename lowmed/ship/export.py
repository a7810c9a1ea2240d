"""The targets of `lowmed export`. A new target is one module with an export function, and one line in `TARGETS`.

An export function takes an `ExportRequest` and returns an `ExportReport`. It writes to a hidden staging folder and
renames that to the output folder at the end, so that an output folder is always complete.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed.errors import RecipeError
from lowmed.files import require_absent
from lowmed.progress import Log, Progress, no_log, silent
from lowmed.ship.records import PACKAGE, ExportReport, MergeReport, Report

if TYPE_CHECKING:
    from lowmed.ship.merge_job import MergeJob

# Target -> "module:function". The module is imported on use: most of them import torch.
TARGETS = {
    "merged": "lowmed.ship.merge_job:export_merged",
    "vllm": "lowmed.ship.vllm:export_vllm",
    "gguf": "lowmed.ship.gguf.export:export_gguf",
    "ollama": "lowmed.ship.ollama:export_ollama",
    "hub": "lowmed.ship.hub:export_hub",
}


@dataclass(frozen=True)
class ExportRequest:
    """The arguments of an export.

    Attributes:
        target: a key of `TARGETS`.
        source: directory of a finished run, or a folder that was exported before.
        out: the folder to create, or None.
        reference: weights that the adapter is added to: `original`, `dequantized`, or None for the default.
        questions: number of held-out questions that compare adapter and merged model; 0 leaves the comparison out.
        on: another source of questions than the run's held-out split.
        path: folder of that source.
        base: folder of the 16-bit base, if it has moved.
        repository: owner/name on the hub.
        upload: whether to upload; without it, the target `hub` only lists what it would upload.
        public: whether the repository is public.
        reviewed: files that a person has checked for patient data.
        progress: draws the progress of the merge.
        log: gets lines for the reader.
    """

    target: str
    source: str
    out: Path | None = None
    reference: str | None = None
    questions: int = 32
    on: str | None = None
    path: str | None = None
    base: str | None = None
    repository: str | None = None
    upload: bool = False
    public: bool = False
    reviewed: tuple[str, ...] = ()
    progress: Progress = silent
    log: Log = no_log

    @property
    def is_exported(self) -> bool:
        """Whether the source is a folder that a merge or an export has created."""
        return (Path(self.source) / PACKAGE).is_file()

    def new_folder(self) -> Path:
        """The output folder for an export of a run.

        Raises:
            RecipeError: no folder is named, or the source is not a run.
            RunError: the source does not exist, or the folder exists.
        """
        from lowmed.run import open_run

        if not self.is_exported:
            open_run(self.source)
        elif self.target in ("merged", "vllm"):
            raise RecipeError(
                "the folder is exported already", self.source, f"name a run directory to export it to `{self.target}`"
            )
        if self.out is None:
            raise RecipeError("there is no output folder", "--out", "name one that does not exist yet: --out DIR")
        require_absent(self.out)
        return self.out

    def plan_merge(self, out: Path) -> "MergeJob":
        """Plan the merge of the run into a folder.

        Raises:
            LowmedError: the merge is not possible.
        """
        from lowmed.ship.merge_job import prepare_merge

        return prepare_merge(
            self.source,
            out,
            reference=self.reference,
            questions=self.questions,
            on=self.on,
            path=self.path,
            base=self.base,
            log=self.log,
        )


def export_function(target: str) -> Callable[[ExportRequest], ExportReport]:
    """The function of an export target.

    Raises:
        RecipeError: there is no such target.
    """
    if target not in TARGETS:
        raise RecipeError(f"there is no export target `{target}`", "--to", f"use one of {', '.join(TARGETS)}")
    module, _, name = TARGETS[target].partition(":")
    function: Callable[[ExportRequest], ExportReport] = getattr(import_module(module), name)
    return function


def export_report(
    target: str, checks: Report | None, out: Path | None = None, *, instructions: str = ""
) -> ExportReport:
    """The report of an export that has written a folder.

    Args:
        target: a key of `TARGETS`.
        checks: checks of the merge or the adapter, if there were any.
        out: the folder; None for the merge's own.
        instructions: commands that use the folder.
    """
    folder = str(out) if out else checks.out if isinstance(checks, MergeReport) else None
    passed = checks is None or checks.passed
    files = list_files(Path(folder)) if folder and passed else {}
    return ExportReport(target, folder, files, checks, instructions=instructions if passed else "")


def list_files(folder: Path) -> dict[str, int]:
    """Every file below a folder: relative name -> bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
