"""Leave out the training questions whose reasoning SFT would have to invent; with `method.mix` require some others.

A prompt that requests reasoning needs an explanation as the target. Without one, SFT would teach a sentence without
content as the reasoning.
"""

from collections.abc import Sequence

from lowmed import prompt
from lowmed.errors import RecipeError
from lowmed.recipe import Recipe
from lowmed.sample import Sample

MAX_MISSING = 0.5  # share of the training questions without an explanation


def keep_trainable(samples: Sequence[Sample], recipe: Recipe) -> tuple[Sample, ...]:
    """The samples that have a training completion under the recipe's prompts; all where the method needs none.

    GRPO with `method.mix` also trains on samples without one, by sampled completions alone.

    Raises:
        RecipeError: most samples have no explanation and the recipe does not allow that, or all have none.
    """
    family = recipe.prompts.training
    mixes = recipe.method.mixes_references
    if not (recipe.method.with_completion or mixes) or family.completion_format == "answer":
        return tuple(samples)
    kept = tuple(sample for sample in samples if prompt.training_completion(family, sample) is not None)
    missing = len(samples) - len(kept)
    if kept and (missing <= MAX_MISSING * len(samples) or recipe.data.allow_missing_explanations):
        return tuple(samples) if mixes else kept
    if mixes:
        fixes = ["leave method.mix out", "use data with explanations"]
        if kept:
            fixes.append(f"mix in those of the other {len(kept):,}: data.allow_missing_explanations=true")
        raise RecipeError(
            f"{missing:,} of {len(samples):,} training questions have no explanation, and the method mixes in "
            "reference completions with reasoning",
            f"method.mix, prompts.train={family.name}, {recipe.data.key}={recipe.data.name}",
            "; or ".join(fixes),
        )
    fixes = ["use prompts that request the answer alone: prompts.train=direct prompts.infer=direct"]
    fixes.append("use data with explanations")
    if kept:
        fixes.append(f"train on the other {len(kept):,}: data.allow_missing_explanations=true")
    raise RecipeError(
        f"{missing:,} of {len(samples):,} training questions have no explanation, and the prompts "
        f"`{family.name}` request reasoning, which SFT would have to invent",
        f"prompts.train={family.name}, {recipe.data.key}={recipe.data.name}",
        "; or ".join(fixes),
    )
