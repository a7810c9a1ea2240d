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
    recipe: options.Recipe = None,
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
    from lowmed.engine.device import unsupported
    from lowmed.recipe import io
    from lowmed.rewards.check import check_rewards

    plan = io.load_recipe(options.require_recipe(recipe), overrides or [], nano=nano)
    if refused := unsupported(plan):
        raise refused
    dataset = load(plan.data.source, plan.data.path)
    division = split_data(dataset, plan.data, plan.seed)
    validate_split(division, plan.data)
    built = rewards.for_recipe(plan)
    paid = check_rewards(built, division.train, plan.prompts.training) if built else {"failures": []}
    found: dict[str, Any] = {
        "recipe": f"{options.require_recipe(recipe)}: no mistakes, digest {plan.digest}",
        "data": dataset.describe().splitlines(),
        "split": division.describe(),
        "images": image_tokens(plan, division),
        "memory": memory(plan),
        "rewards": paid,
        "verdict": "the rewards do not hold" if paid["failures"] else "ready to train",
        "not_checked": [
            "whether model.name can be loaded, and its tokens of text",
            "memory and time on a card: what is said of them is planned, not measured",
            f"images beyond the first {IMAGES_OPENED}, where the source does not open them itself",
        ],
    }
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found, [*check_lines(paid), *(f"fails    {failure}" for failure in paid["failures"])] if built else [])
    if paid["failures"]:
        raise typer.Exit(1)


def memory(plan: "Recipe") -> list[str]:
    """On which cards the run is planned to fit."""
    from lowmed.errors import SetupError
    from lowmed.plan import format

    try:
        return format.verdict_lines(plan)
    except SetupError as error:  # a hub id that is not in the tables, and nothing is downloaded to look
        return [f"not planned: {error.what}"]


def image_tokens(plan: "Recipe", division: "DataSplit") -> dict[str, Any]:
    """Tokens that the first training images cost under the recipe's pixel policy."""
    from lowmed.data.image.policy import PixelPolicy, image_tokens

    policy = PixelPolicy(plan.model.max_image_tokens)
    first = list(dict.fromkeys(image for sample in division.train for image in sample.images))[:IMAGES_OPENED]
    tokens = [image_tokens(*division.open_image(image).size, policy) for image in first]
    return {"opened": len(tokens), "most_tokens": max(tokens, default=0), "budget": plan.model.max_image_tokens}


def _print(found: dict[str, Any], rewards: list[str]) -> None:
    print(f"recipe   {found['recipe']}")
    print("data     " + "\n         ".join(found["data"]))
    print("split    " + "\n         ".join(found["split"]))
    images = found["images"]
    print(f"images   {images['opened']} opened, at most {images['most_tokens']} tokens of {images['budget']} each")
    print("memory   " + "\n         ".join(found["memory"]))
    if rewards:
        print("\n".join(rewards))
    print("not checked: " + "; ".join(found["not_checked"]))
    print(found["verdict"])
