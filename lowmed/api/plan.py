"""Estimate memory and time of a run, or measure them in a dry run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed.errors import RecipeError

if TYPE_CHECKING:
    from lowmed.plan.calibration import MeasuredRun
    from lowmed.plan.cards import Card
    from lowmed.plan.estimate import Estimate
    from lowmed.recipe import Recipe


@dataclass(frozen=True)
class RecipeEstimate:
    """The estimates for one recipe.

    Attributes:
        recipe: the validated recipe.
        estimates: one for each GPU.
        one_card: whether one GPU was chosen or is present; otherwise all known GPUs are listed.
    """

    recipe: "Recipe"
    estimates: "Sequence[Estimate]"
    one_card: bool


def estimate_recipe(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    gib: float | None = None,
    nano: bool = False,
    processes: int = 1,
) -> RecipeEstimate:
    """Estimate memory and time of a recipe, without a download.

    Args:
        recipe: the name of a shipped recipe, or the path of a YAML file.
        overrides: `key=value`, applied to the recipe.
        gpu: name of the GPU. By default the recipe's `hardware`, the GPU present, or all known GPUs.
        gib: memory of a GPU that is not in the list, in GiB.
        nano: use the embedded model and data.
        processes: number of processes that divide the model, with `model.shard`.

    Raises:
        RecipeError: the recipe is invalid, the GPU is unknown, or the processes cannot divide the model.
        SetupError: the dimensions of the model are unknown.
    """
    from lowmed import architectures
    from lowmed.engine.shard_support import shard_error
    from lowmed.plan import cards
    from lowmed.plan.estimate import estimate_all
    from lowmed.recipe.io import load_recipe

    if gpu and gib:
        raise RecipeError("--gpu and --gib cannot be combined", "--gib", "give one of them")
    loaded = load_recipe(recipe, overrides, nano=nano)
    if error := shard_error(loaded, processes):
        raise error
    if processes > 1 and loaded.model.shard == "none":
        raise RecipeError(
            "each process holds the model, so that the memory of a GPU does not depend on their number",
            "--processes and model.shard",
            "leave out --processes, or set model.shard=fsdp",
        )
    model = architectures.read_architecture(loaded.model)
    card = _card(loaded, gpu, gib)
    estimates = estimate_all(loaded, model, [card] if card else cards.CARDS.values(), shards=processes)
    return RecipeEstimate(loaded, estimates, card is not None)


def dry_run_recipe(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    gib: float | None = None,
    nano: bool = False,
    processes: int = 1,
) -> "tuple[MeasuredRun, Path]":
    """Run three optimizer steps on this machine, and store their memory and time for later estimates.

    Args:
        recipe: the name of a shipped recipe, or the path of a YAML file.
        overrides: `key=value`, applied to the recipe.
        gpu: must be None, because the dry run uses the GPU present.
        gib: must be None, for the same reason.
        nano: use the embedded model and data.
        processes: must be 1.

    Returns:
        The measured run, and the file in which it is stored.

    Raises:
        RecipeError: the recipe is invalid, or `gpu`, `gib` or `processes` is given.
        LowmedError: the machine or the model does not allow the run.
    """
    from lowmed.engine import dry_run
    from lowmed.plan import calibration
    from lowmed.recipe.io import load_recipe

    if gpu or gib:
        raise RecipeError("a dry run uses the GPU of this machine", "--dry-run", "omit --gpu and --gib")
    if processes > 1:
        raise RecipeError("a dry run measures a single process", "--dry-run and --processes", "omit one of them")
    run = dry_run.dry_run(load_recipe(recipe, overrides, nano=nano))
    return run, calibration.store(run)


def _card(recipe: "Recipe", gpu: str | None, gib: float | None) -> "Card | None":
    """The named GPU, else the recipe's preset, else the GPU present, else None."""
    from lowmed import processes
    from lowmed.engine import device
    from lowmed.plan import cards

    if gpu:
        return cards.card_by_name(gpu)
    if gib:
        return cards.Card(f"{gib:g} GiB", gib)
    if recipe.hardware:
        return cards.preset(recipe)
    if processes.driver_present():
        present = device.find_device(recipe.model)
        return cards.match_card(present.card, present.memory_gib)
    return cards.this_cpu() if recipe.model.name == "nano" or recipe.model.weights == "random" else None
