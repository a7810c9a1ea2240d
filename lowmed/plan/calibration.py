"""Measured rows: what a rehearsal found, one file a row, and what the planner learns from them.

The planner multiplies its terms by the largest ratio of measured to planned memory among the large phases of a card's
rows, and adds what smaller ones took beyond that: so it is never below one of them. A card without rows has a guess.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lowmed.errors import RunError
from lowmed.files import write_text
from lowmed.models import Architecture
from lowmed.plan import cards
from lowmed.plan.memory import phases
from lowmed.plan.sequence_lengths import SequenceLengths
from lowmed.plan.workload import GIB, Batch, Terms, Workload
from lowmed.recipe import Recipe

FOLDER = Path("rehearsals")  # in the working folder, as `runs` is
GUESSED_FACTOR = 1.08  # what the allocator holds beyond its tensors
LARGE_GIB = 1.0  # below it the libraries' own buffers outweigh what is planned
CONTEXT_GIB = 0.5  # driver and kernels of a card, outside of torch's own count


@dataclass(frozen=True)
class MemoryScale:
    """From planned bytes to GiB on a card; `rows` of that card were measured."""

    factor: float = GUESSED_FACTOR
    context_gib: float = CONTEXT_GIB
    rows: int = 0

    def gib(self, terms: Terms) -> float:
        """A phase's memory, with what is taken beside torch."""
        return self.context_gib + self.factor * sum(terms.values()) / GIB


class MeasuredRun(BaseModel):
    """One rehearsal: what ran, where, and what it took.

    Attributes:
        card: as torch names it, or `CPU`.
        card_gib: its memory, GiB; 0 for a CPU.
        context_gib: taken beside what the terms count: driver and kernels, or this process at its start.
        gib: peak of each phase, GiB, context left out: reserved by torch, or resident in this process.
        seconds: of one update, by part, after the first.
        about: date, versions, machine.
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
    def sizes(self) -> Workload:
        """What the planner goes by."""
        return Workload(self.recipe, self.model, self.lengths, self.batch, 4 if self.precision == "fp32" else 2)

    @property
    def card_name(self) -> str:
        """The card's name in the planner's table."""
        return cards.like(self.card, self.card_gib).name

    @property
    def planned_gib(self) -> dict[str, float]:
        """The bare terms of each measured phase, GiB: neither factor nor context."""
        terms = phases(self.sizes)
        return {phase: sum(terms[phase].values()) / GIB for phase in self.gib}


def shipped_folder() -> Path:
    """The folder of the rows that ship: inside the installed package, or among the benchmarks of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_measured"
    return installed if installed.is_dir() else package.parent / "benchmarks" / "results" / "memory"


def shipped() -> list[MeasuredRun]:
    """The rows that ship."""
    return _read(shipped_folder())


def rows() -> list[MeasuredRun]:
    """The rows that ship, and those that were rehearsed in this working folder.

    Raises:
        RunError: a file is no row of this version.
    """
    return [*shipped(), *_read(FOLDER)]


def store(row: MeasuredRun, folder: Path = FOLDER) -> Path:
    """Write a row; one of the same card, model, method and batch is replaced.

    Raises:
        SetupError: the folder cannot be written.
    """
    model = Path(row.recipe.model.name).name.lower()
    batch = f"{row.batch.per_device_train_batch_size}x{row.lengths.row}{'-checkpointing' if row.batch.gradient_checkpointing else ''}"
    name = f"{row.card_name}-{model}-{row.recipe.model.load_in}-{row.recipe.method.kind}-{batch}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name.replace(" ", "-").replace("/", "-")
    write_text(path, row.model_dump_json(indent=2) + "\n")
    return path


def scale(card: str, known: Sequence[MeasuredRun] | None = None) -> MemoryScale:
    """What is known of that card of the planner's table.

    Args:
        card: its name there.
        known: rows; by default all that are at hand.
    """
    mine = [row for row in (rows() if known is None else known) if row.card_name == card]
    if not mine:
        return MemoryScale()
    pairs = [(gib, row.planned_gib[phase], row.context_gib) for row in mine for phase, gib in row.gib.items()]
    factor = max((gib / planned for gib, planned, _ in pairs if planned >= LARGE_GIB), default=GUESSED_FACTOR)
    context = max(context + max(0.0, gib - factor * planned) for gib, planned, context in pairs)
    return MemoryScale(factor, context, len(mine))


def _read(folder: Path) -> list[MeasuredRun]:
    result = []
    for path in sorted(folder.glob("*.json")):
        try:
            result.append(MeasuredRun.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise RunError(
                f"a measured row can not be read: {first}", str(path), "remove it, and rehearse again with this version"
            ) from error
    return result
