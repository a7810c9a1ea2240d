"""`lowmed rewards`: what a policy can be paid for, and whether a recipe's rewards can be fooled."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lowmed.cli import options
from lowmed.cli.progress import progress

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What a policy can be paid for: `list`, `show NAME`, `check`, `calibrate`.",
)


@app.command("list")
def list_rewards(as_json: options.Json = False) -> None:
    """One line a reward.

    \b
    lowmed rewards list
    """
    from lowmed.rewards import REWARDS

    rows = {name: _about(reward).splitlines()[0] for name, reward in REWARDS.items()}
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for name, line in rows.items():
        print(f"{name:<17} {line}")


@app.command()
def show(name: str, as_json: options.Json = False) -> None:
    """What a reward pays, where it comes from, and its options.

    \b
    lowmed rewards show consistency
    """
    from lowmed.rewards import registry

    known = {
        option: {"takes": registry.type_name(hint), "default": default}
        for option, (hint, default) in registry.options(name).items()
    }
    about = _about(registry.REWARDS[name])
    if as_json:
        print(json.dumps({"name": name, "about": about, "options": known}, indent=2, ensure_ascii=False))
        return
    print(f"{name}\n\n{about}\n")
    for option, told in known.items():
        print(f"  {option}: {told['takes']}; default {json.dumps(told['default'])}")


@app.command()
def check(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    as_json: options.Json = False,
) -> None:
    """Try a recipe's rewards on its own gold answers and on known hacks; exit 1 where they do not hold.

    \b
    lowmed rewards check --recipe rarl --nano
    lowmed rewards check --recipe mine.yaml data.path=~/vqa-rad
    """
    from lowmed import rewards
    from lowmed.data import for_recipe
    from lowmed.errors import RecipeError
    from lowmed.recipe.io import load_recipe
    from lowmed.rewards.check import check_rewards

    recipe = load_recipe(options.require_recipe(recipe_name), overrides or [], nano=nano)
    if recipe.method.kind != "grpo":
        raise RecipeError(
            "this recipe has no rewards", options.require_recipe(recipe_name), "use one that trains by grpo"
        )
    built = rewards.for_recipe(recipe)
    data_split = for_recipe(recipe, progress=progress).split
    result = check_rewards(built, data_split.train, recipe.prompts.training)
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print("\n".join([*check_lines(result), *(f"fails    {failure}" for failure in result["failures"])]))
        held = "the rewards hold, except that they pay length" if result["by_design"] else "the rewards hold"
        print("the rewards do not hold" if result["failures"] else held)
    if result["failures"]:
        raise typer.Exit(1)


Model = Annotated[str, typer.Option("--model", help="Folder or hub id of a sentence-transformers model.")]
Out = Annotated[Path, typer.Option("--out", help="File for the result, for `calibration` of the reward.")]


@app.command()
def calibrate(
    model: Model,
    out: Out,
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    as_json: options.Json = False,
) -> None:
    """Measure what an embedding model's cosines mean on a recipe's gold answers; exit 1 where it tells too few apart.

    \b
    lowmed rewards calibrate --recipe mine.yaml --model ./MedEmbed-large --out medembed.json
    """
    from lowmed.data import for_recipe
    from lowmed.files import write_json
    from lowmed.recipe.io import load_recipe
    from lowmed.rewards.embedding_calibration import calibrate_embedding

    recipe = load_recipe(options.require_recipe(recipe_name), overrides or [], nano=nano)
    data_split = for_recipe(recipe, progress=progress).split
    result = calibrate_embedding(data_split.train, model)
    write_json(out, result)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"pairs      {result['pairs']} of different golds, {result['pairs_of_one_question']} to the same question"
        )
        print(f"unrelated  cosine {result['unrelated']:.3f} for half of them")
        print(f"threshold  cosine {result['threshold']:.3f}, not reached by 99 in 100 of them")
        print(f"accepted   {result['accepted']:.0%} of golds in other words reach it")
        print(f"written to {out}" if result["usable"] else f"not usable as a reward; written to {out} all the same")
    if not result["usable"]:
        raise typer.Exit(1)


def check_lines(result: dict[str, Any]) -> list[str]:
    """What `rewards.check.checked` found, in lines."""
    lines = []
    for line in result["gold"]:
        full = f"{line['gold_replies'] - line['abstained'] - line['below_full']} of {line['gold_replies']}"
        abstained = f", {line['abstained']} have nothing to say" if line["abstained"] else ""
        gate = ", gate" if line["gate"] else ""
        lines.append(f"reward   {line['reward']} x {line['weight']:g}{gate}: {full} gold replies earn all{abstained}")
        if not line["by_design"]:
            lines += [f"         {sample}: {why}" for sample, why in line["first"]]
    tried, names = result["hacks"], list(dict.fromkeys(line["hack"] for line in result["hacks"]))
    kinds = list(dict.fromkeys(line["kind"] for line in tried))
    wins = sorted({line["hack"] for line in tried if line["wins"]})
    lines.append(
        f"hacks    {len(names)} tried on {', '.join(kinds)} questions: "
        + (
            f"{len(wins)} earn more than an honest wrong answer"
            if wins
            else "none earns more than an honest wrong answer"
        )
    )
    if result["by_design"]:
        known = sorted({line["hack"] for line in tried if line["wins_by_design"] and not line["wins"]})
        paying = ", ".join(f"`{name}`" for name in result["by_design"])
        lines.append(f"known    {paying} pays length by design, so these pay too: {', '.join(known) or 'none'}")
    return lines


def _about(reward: Any) -> str:
    import inspect

    return inspect.getdoc(reward) or ""
