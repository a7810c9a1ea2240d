"""`lowmed plan`: what a run will take on a card, before anything is downloaded."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options
from lowmed.errors import RecipeError

if TYPE_CHECKING:
    from lowmed.plan.cards import Card
    from lowmed.recipe import Recipe

Gpu = Annotated[str | None, typer.Option("--gpu", help="A card: T4, L4, 3090, A100-40, H100, ...")]
Gib = Annotated[float | None, typer.Option("--gib", min=0.1, max=1e4, help="Memory of a card that is not known, GiB.")]
Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="Run three updates with random weights here, and store what they took.")
]


def plan(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    gpu: Gpu = None,
    gib: Gib = None,
    nano: options.Nano = False,
    rehearse: Rehearse = False,
    as_json: options.Json = False,
) -> None:
    """Plan memory and time of a run: peak by phase and term, verdict, what would save memory.

    \b
    lowmed plan --recipe rarl                                  the card present, else all cards
    lowmed plan --recipe rarl --gpu T4
    lowmed plan --recipe rarl --gib 12 model.load_in=16bit
    lowmed plan --recipe rarl --rehearse model.name=<folder with config.json> model.weights=random
    """
    from lowmed.plan import architecture, cards
    from lowmed.plan.estimate import estimate
    from lowmed.plan.formatting import as_document, full_lines, header_lines, short_lines
    from lowmed.recipe.io import load_recipe

    if gpu and gib:
        raise RecipeError("--gpu and --gib both say the card", "--gib", "give one of them")
    asked = load_recipe(options.require_recipe(recipe_name), overrides or [], nano=nano)
    if rehearse:
        _rehearse(asked, gpu, gib, as_json=as_json)
        return
    model = architecture.read_architecture(asked.model)
    card = _card(asked, gpu, gib)
    chosen = [card] if card else list(cards.CARDS.values())
    outlooks = [estimate(asked, model, each) for each in chosen]
    if as_json:
        print(
            json.dumps(
                {"recipe": options.require_recipe(recipe_name), "cards": [as_document(each) for each in outlooks]},
                indent=2,
            )
        )
    else:
        lines = full_lines(outlooks[0]) if card else short_lines(outlooks)
        print(
            "\n".join(
                [f"recipe   {options.require_recipe(recipe_name)}: {asked.about}", *header_lines(outlooks[0]), *lines]
            )
        )
    if card and outlooks[0].verdict == "does not fit":
        raise typer.Exit(1)


def _card(asked: "Recipe", gpu: str | None, gib: float | None) -> "Card | None":
    """The card that was named, else the recipe's preset, else the one present, else none: all of them."""
    from lowmed.engine import device
    from lowmed.plan import cards

    if gpu:
        return cards.named(gpu)
    if gib:
        return cards.Card(f"{gib:g} GiB", gib)
    if asked.hardware:
        return cards.preset(asked)
    if device.driver_present():
        here = device.find_device(asked.model)
        return cards.like(here.card, here.memory_gib)
    return cards.this_cpu() if asked.model.name == "nano" or asked.model.weights == "random" else None


def _rehearse(asked: "Recipe", gpu: str | None, gib: float | None, *, as_json: bool) -> None:
    if gpu or gib:
        raise RecipeError("a rehearsal runs on the card that is here", "--rehearse", "leave --gpu and --gib out")
    from lowmed.engine import dry_run
    from lowmed.plan import calibration
    from lowmed.plan.formatting import dry_run_lines

    row = dry_run.dry_run(asked)
    path = calibration.store(row)
    if as_json:
        print(row.model_dump_json(indent=2))
        return
    print("\n".join(dry_run_lines(row)))
    print(f"stored   {path}; it now calibrates the plan for {row.card_name} in this folder")
