"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from lowmed.errors import RecipeError

Recipe = Annotated[str | None, typer.Option("--recipe", "-r", help="A shipped recipe's name, or a YAML file.")]
Nano = Annotated[
    bool,
    typer.Option("--nano", envvar="LOWMED_NANO", help="Use the embedded model and data: no GPU, no download."),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Override recipe keys, e.g. lora.rank=32")
]
Endpoint = Annotated[str | None, typer.Option("--endpoint", help="URL of the server of the model, .../v1")]
ServedAs = Annotated[str | None, typer.Option("--model", help="The endpoint's name for its model.")]
MaxConcurrency = Annotated[
    int, typer.Option("--max-concurrency", min=1, max=256, help="Most requests to the endpoint at once.")
]
Processes = Annotated[
    int, typer.Option("--processes", min=1, max=4096, help="Number of processes that train, with a GPU each.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")]
Full = Annotated[bool, typer.Option("--full", help="Print all figures.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]


def require_recipe(recipe: str | None) -> str:
    """The value of --recipe, which is required.

    Raises:
        RecipeError: the option is missing.
    """
    if recipe is None:
        raise RecipeError("no recipe given", "--recipe", "e.g. --recipe rarl; `lowmed recipes` lists what ships")
    return recipe


def run_name(recipe: str, nano: bool) -> str:
    """The name of a run of this recipe."""
    return Path(recipe).stem + ("-nano" if nano else "")


def parse_mapping(text: str | None) -> dict[str, str]:
    """The value of --map: lowmed's field -> the column or field of the file.

    Raises:
        RecipeError: a part of it has no equals sign.
    """
    pairs = [pair.partition("=") for pair in (text or "").split(",") if pair.strip()]
    if any(not equals for _, equals, _ in pairs):
        raise RecipeError(f"`{text}` is not of the form field=column", "--map", "e.g. --map question=Frage,image=Datei")
    return {field.strip(): column.strip() for field, _, column in pairs}
