"""Measured runs: the results of dry runs, one file each, and the calibration of the planner with them.

The planner multiplies its terms by the largest ratio of measured to planned memory among the large phases on a GPU.
Memory of smaller phases beyond that is added. So an estimate is never below a measured value of that GPU. For a GPU
without measured runs both numbers are guesses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lowmed.errors import RunError
from lowmed.files import disk_errors, write_text
from lowmed.models import Architecture
from lowmed.plan import cards
from lowmed.plan.memory import phases
from lowmed.plan.sequence_lengths import SequenceLengths
from lowmed.plan.workload import GIB, Batch, Terms, Workload
from lowmed.recipe import Recipe

FOLDER = Path("dry_runs")  # in the working directory, like `runs`
GUESSED_FACTOR = 1.08  # memory of the allocator over that of its tensors
LARGE_GIB = 1.0  # in smaller phases the buffers of libraries outweigh the planned terms
CONTEXT_GIB = 0.5  # CUDA context and kernels, which torch does not count


@dataclass(frozen=True)
class MemoryScale:
    """Calibration of the memory estimate for one GPU.

    Attributes:
        factor: measured over planned memory.
        context_gib: memory outside of torch, in every phase.
        dry_runs: number of measured runs on that GPU; with 0, the values are guesses.
    """

    factor: float = GUESSED_FACTOR
    context_gib: float = CONTEXT_GIB
    dry_runs: int = 0

    def gib(self, terms: Terms) -> float:
        """Memory of a phase in GiB.

        Args:
            terms: its terms, in bytes.
        """
        return self.context_gib + self.factor * sum(terms.values()) / GIB


class MeasuredRun(BaseModel):
    """The result of one dry run: its workload, its device, and its measured memory and time.

    Attributes:
        card: name of the GPU as torch reports it, or `CPU`.
        card_gib: its memory in GiB; 0 for a CPU.
        precision: `bf16`, `fp16` or `fp32`.
        recipe: the recipe, without paths and texts.
        model: dimensions of the model.
        lengths: tokens of the longest row.
        batch: rows per pass.
        context_gib: memory that the terms do not include: CUDA context and kernels, or this process before the model.
        gib: peak memory of each phase without the context, in GiB: reserved by torch, or resident in the process.
        seconds: time of one optimizer step (`step`) and of its parts, after the first step.
        about: date, versions, backend.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    card: str
    card_gib: float
    precision: str
    recipe: Recipe
    model: Architecture
    lengths: SequenceLengths
    batch: Batch
    context_gib: float
    gib: dict[str, float]
    seconds: dict[str, float]
    about: dict[str, Any]

    @property
    def workload(self) -> Workload:
        """The workload that the planner would estimate."""
        return Workload(self.recipe, self.model, self.lengths, self.batch, 4 if self.precision == "fp32" else 2)

    @property
    def card_name(self) -> str:
        """Name of the GPU in the planner's table."""
        return cards.match_card(self.card, self.card_gib).name

    @property
    def planned_gib(self) -> dict[str, float]:
        """The uncalibrated terms of each measured phase, in GiB."""
        terms = phases(self.workload)
        return {phase: sum(terms[phase].values()) / GIB for phase in self.gib}


def shipped_folder() -> Path:
    """The folder of the shipped measured runs: in the installed package, or in the benchmarks of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_measured"
    return installed if installed.is_dir() else package.parent / "benchmarks" / "results" / "memory"


def shipped_runs() -> list[MeasuredRun]:
    """The measured runs that ship with lowmed."""
    return _read(shipped_folder())


def measured_runs() -> list[MeasuredRun]:
    """The shipped measured runs, and the dry runs of the working directory.

    Raises:
        RunError: a file cannot be read by this version.
    """
    return [*shipped_runs(), *_read(FOLDER)]


def store(run: MeasuredRun, folder: Path = FOLDER) -> Path:
    """Write a measured run. It replaces one with the same GPU, model, method and batch.

    Args:
        run: the measured run.
        folder: the directory to write to.

    Raises:
        SetupError: the folder cannot be written.
    """
    model = Path(run.recipe.model.name).name.lower()
    shape = f"{run.batch.per_device_train_batch_size}x{run.lengths.row}"
    checkpointing = "-checkpointing" if run.batch.gradient_checkpointing else ""
    name = f"{run.card_name}-{model}-{run.recipe.model.load_in}-{run.recipe.method.kind}-{shape}{checkpointing}.json"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / name.replace(" ", "-").replace("/", "-")
    write_text(path, run.model_dump_json(indent=2) + "\n")
    return path


def memory_scale(card: str, measured: Sequence[MeasuredRun] | None = None) -> MemoryScale:
    """The calibration for a GPU.

    Args:
        card: its name in the planner's table.
        measured: measured runs of any GPU; by default all that are stored.
    """
    runs = [run for run in (measured_runs() if measured is None else measured) if run.card_name == card]
    if not runs:
        return MemoryScale()
    pairs = [(gib, run.planned_gib[phase], run.context_gib) for run in runs for phase, gib in run.gib.items()]
    factor = max((gib / planned for gib, planned, _ in pairs if planned >= LARGE_GIB), default=GUESSED_FACTOR)
    context = max(context + max(0.0, gib - factor * planned) for gib, planned, context in pairs)
    return MemoryScale(factor, context, len(runs))


def _read(folder: Path) -> list[MeasuredRun]:
    runs = []
    for path in sorted(folder.glob("*.json")):
        try:
            runs.append(MeasuredRun.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise RunError(
                f"the dry run cannot be read: {first}", str(path), "delete the file, and repeat the dry run"
            ) from error
    return runs
