"""`lowmed check`: everything about a run that can be known before a GPU second is spent."""

import json
from typing import TYPE_CHECKING, Any

import typer

from lowmed.cli import options

if TYPE_CHECKING:
    from lowmed.data.split import DataSplit
    from lowmed.recipe import Recipe

IMAGES_OPENED = 32


def check(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    as_json: options.Json = False,
) -> None:
    """Check a recipe, its data, its rewards and its prompts, without a GPU or a download of weights.

    \b
    lowmed check --recipe rarl --nano
    lowmed check --recipe rarl data.source=vqa-rad data.path=~/vqa-rad
    """
    from lowmed import rewards
    from lowmed.cli.rewards import check_lines
    from lowmed.data.load import load
    from lowmed.data.split import split_data, validate_split
    from lowmed.engine.device import unsupported_error
    from lowmed.recipe.io import load_recipe
    from lowmed.rewards.check import check_rewards

    recipe = load_recipe(options.require_recipe(recipe_name), overrides or [], nano=nano)
    if refused := unsupported_error(recipe):
        raise refused
    dataset = load(recipe.data.source, recipe.data.path)
    data_split = split_data(dataset, recipe.data, recipe.seed)
    validate_split(data_split, recipe.data)
    built = rewards.for_recipe(recipe)
    paid = check_rewards(built, data_split.train, recipe.prompts.training) if built else None
    result: dict[str, Any] = {
        "recipe": f"{options.require_recipe(recipe_name)}: no mistakes, digest {recipe.digest}",
        "data": dataset.describe().splitlines(),
        "split": data_split.describe(),
        "images": image_tokens(recipe, data_split),
        "memory": memory(recipe),
        "rewards": paid.as_json() if paid else None,
        "verdict": "the rewards do not hold" if paid and paid.failures else "ready to train",
        "not_checked": [
            "whether model.name can be loaded, and its tokens of text",
            "memory and time on a card: what is said of them is planned, not measured",
            f"images beyond the first {IMAGES_OPENED}, where the source does not open them itself",
        ],
    }
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        _print(result, [*check_lines(paid), *(f"fails    {failure}" for failure in paid.failures)] if paid else [])
    if paid and paid.failures:
        raise typer.Exit(1)


def memory(recipe_name: "Recipe") -> list[str]:
    """On which cards the run is planned to fit."""
    from lowmed.errors import SetupError
    from lowmed.plan.formatting import verdict_lines

    try:
        return verdict_lines(recipe_name)
    except SetupError as error:  # a hub id that is not in the tables, and nothing is downloaded to look
        return [f"not planned: {error.what}"]


def image_tokens(recipe_name: "Recipe", data_split: "DataSplit") -> dict[str, Any]:
    """Tokens that the first training images cost under the recipe's pixel policy."""
    from lowmed.data.image.policy import PixelPolicy, image_tokens

    policy = PixelPolicy(recipe_name.model.max_image_tokens)
    first = list(dict.fromkeys(image for sample in data_split.train for image in sample.images))[:IMAGES_OPENED]
    tokens = [image_tokens(*data_split.open_image(image).size, policy) for image in first]
    return {"opened": len(tokens), "most_tokens": max(tokens, default=0), "budget": recipe_name.model.max_image_tokens}


def _print(result: dict[str, Any], rewards: list[str]) -> None:
    print(f"recipe   {result['recipe']}")
    print("data     " + "\n         ".join(result["data"]))
    print("split    " + "\n         ".join(result["split"]))
    images = result["images"]
    print(f"images   {images['opened']} opened, at most {images['most_tokens']} tokens of {images['budget']} each")
    print("memory   " + "\n         ".join(result["memory"]))
    if rewards:
        print("\n".join(rewards))
    print("not checked: " + "; ".join(result["not_checked"]))
    print(result["verdict"])
