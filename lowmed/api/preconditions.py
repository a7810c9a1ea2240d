"""What training requires of a recipe before anything is loaded. `check` and `train` share it, so that they agree."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.recipe import Recipe
    from lowmed.rewards import Weighted


def require_trainable(recipe: "Recipe") -> "list[Weighted]":
    """Check everything but the data: rewards, rollouts, model family, and the adapter to start from.

    Returns:
        The recipe's rewards.

    Raises:
        LowmedError: training would fail.
    """
    from lowmed import rewards
    from lowmed.engine.adapter import require_start
    from lowmed.engine.device import unsupported_error
    from lowmed.plan.architecture import require_trainable_family

    built = rewards.for_recipe(recipe)
    if error := unsupported_error(recipe):
        raise error
    require_trainable_family(recipe.model)
    require_start(recipe.lora)
    return built
