"""`lowmed check`: everything about a run that can be known before a GPU second is spent."""

import json
from typing import TYPE_CHECKING, Any

import typer

from lowmed.cli import options

if TYPE_CHECKING:
    from lowmed.data.division import Division
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
    from lowmed import recipe_file
    from lowmed.data.division import check_certain, divide
    from lowmed.data.load import load

    plan = recipe_file.load(options.named(recipe), overrides or [], nano=nano)
    dataset = load(plan.data.source, plan.data.path)
    division = divide(dataset, plan.data, plan.seed)
    check_certain(division, plan.data)
    gold = gold_rewards(plan, division)
    failed = [line for line in gold if line["below_full"]]
    found: dict[str, Any] = {
        "recipe": f"{options.named(recipe)}: no mistakes, digest {plan.digest}",
        "data": dataset.describe().splitlines(),
        "split": division.describe(),
        "images": image_tokens(plan, division),
        "rewards": gold,
        "verdict": "the gold answers do not earn their full reward" if failed else "ready to train",
        "not_checked": [
            "whether model.name can be loaded, and its tokens of text",
            "memory and time on a card",
            f"images beyond the first {IMAGES_OPENED}, where the source does not open them itself",
        ],
    }
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    if failed:
        raise typer.Exit(1)


def gold_rewards(plan: "Recipe", division: "Division") -> list[dict[str, Any]]:
    """What each reward pays for the reference replies themselves: it must be all that it can pay."""
    from lowmed import prompt, rewards

    if plan.method.kind != "grpo":
        return []
    family = prompt.family(plan.prompts.train)
    lines = []
    for reward in rewards.build(plan.method.reward_specs, family.reply):
        scores = [(sample, reward(sample, prompt.reference(family, sample))) for sample in division.train]
        below = [(sample.id, score.why) for sample, score in scores if score.value is not None and score.value < 1]
        lines.append(
            {
                "reward": reward.name,
                "weight": reward.weight,
                "gold_replies": len(scores),
                "abstained": sum(score.value is None for _, score in scores),
                "below_full": len(below),
                "first": below[:3],
            }
        )
    return lines


def image_tokens(plan: "Recipe", division: "Division") -> dict[str, Any]:
    """Tokens that the first training images cost under the recipe's pixel policy."""
    from lowmed.data.images import Policy, image_tokens

    policy = Policy(plan.model.max_image_tokens)
    first = list(dict.fromkeys(image for sample in division.train for image in sample.images))[:IMAGES_OPENED]
    tokens = [image_tokens(*division.open_image(image).size, policy) for image in first]
    return {"opened": len(tokens), "most_tokens": max(tokens, default=0), "budget": plan.model.max_image_tokens}


def _print(found: dict[str, Any]) -> None:
    print(f"recipe   {found['recipe']}")
    print("data     " + "\n         ".join(found["data"]))
    print("split    " + "\n         ".join(found["split"]))
    images = found["images"]
    print(f"images   {images['opened']} opened, at most {images['most_tokens']} tokens of {images['budget']} each")
    for line in found["rewards"]:
        gold = f"{line['gold_replies'] - line['abstained'] - line['below_full']} of {line['gold_replies']}"
        abstained = f", {line['abstained']} have nothing to say" if line["abstained"] else ""
        print(f"reward   {line['reward']} x {line['weight']:g}: {gold} gold replies earn all{abstained}")
        for sample, why in line["first"]:
            print(f"         {sample}: {why}")
    print("not checked: " + "; ".join(found["not_checked"]))
    print(found["verdict"])
