"""What the rewards of a recipe need besides the model that is trained."""

from lowmed.recipe import Recipe


def needs_judge(recipe: Recipe) -> bool:
    """Whether a reward sends completions to a judge model."""
    return any(reward.name in ("judge", "clinical") for reward in recipe.method.reward_specs)


def needs_embedding(recipe: Recipe) -> bool:
    """Whether a reward uses an embedding model."""
    rewards = recipe.method.reward_specs
    return any(reward.name == "semantic" or reward.options.get("by") == "embedding" for reward in rewards)


def needs_likelihood(recipe: Recipe) -> bool:
    """Whether a reward uses likelihoods under an EMA copy of the adapter."""
    return any(reward.name == "consistency" for reward in recipe.method.reward_specs)
