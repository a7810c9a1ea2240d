"""Which recipes can divide their model among several processes. Nothing heavy is imported."""

from lowmed import processes
from lowmed.errors import RecipeError
from lowmed.recipe import ModelSpec, Recipe


def divides(model: ModelSpec) -> bool:
    """Whether this process holds a part of the model; a single process holds all of it."""
    return model.shard != "none" and processes.size() > 1


def shard_error(recipe: Recipe, count: int) -> RecipeError | None:
    """The error if the processes of a run cannot divide the model of a recipe, or None.

    Args:
        recipe: the recipe.
        count: number of processes.
    """
    model = recipe.model
    if model.shard == "none":
        return None
    if model.backend == "unsloth":
        what, where = "unsloth's layers cannot be divided", "model.backend and model.shard"
        fix = "use model.backend=transformers"
    elif count == 1:
        what, where = f"model.shard={model.shard} divides the model among processes, and there is one", "model.shard"
        fix = "use --processes N with a GPU for each; a new run can set model.shard=none"
    elif model.rollout == "cuda_graphs":
        what, where = "a CUDA graph cannot gather the layers of a divided model", "model.rollout and model.shard"
        fix = "use model.rollout=auto"
    elif model.rollout_dtype == "16bit":
        what = "a 16-bit copy of the weights in each process is larger than the model that was divided"
        where, fix = "model.rollout_dtype and model.shard", "use model.rollout_dtype=auto"
    else:
        return None
    return RecipeError(what, where, fix)
