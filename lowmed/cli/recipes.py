"""`lowmed recipes`: list, show and copy recipes, and print their schema."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.api import recipes as api
from lowmed.cli import options

app = typer.Typer(help="List, show and copy recipes.", rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A shipped recipe's name, or a YAML file.")]


@app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List, show and copy recipes. Without a command, the shipped recipes are listed."""
    if context.invoked_subcommand is None:
        list_recipes(as_json=False)


@app.command("list")
def list_recipes(as_json: options.Json = False) -> None:
    """List the shipped recipes.

    \b
    lowmed recipes
    lowmed recipes list --json
    """
    rows = api.list_recipes()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    width = max(map(len, rows))
    for name, row in rows.items():
        print(f"{name:<{width}} {row['method']:<5} {row['about']}")


@app.command()
def show(name: Name) -> None:
    """Print a recipe with the source of each value.

    \b
    lowmed recipes show rarl
    """
    print(api.show_recipe(name), end="")


@app.command()
def copy(name: Name, path: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")]) -> None:
    """Copy a recipe to a file of your own.

    \b
    lowmed recipes copy rarl mine.yaml && lowmed grpo --recipe mine.yaml
    """
    api.copy_recipe(name, path)


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables to read: docs/recipes.md.")] = False,
) -> None:
    """Print every recipe key: the JSON schema, or tables.

    \b
    lowmed recipes schema > recipe.schema.json
    lowmed recipes schema --markdown
    """
    result = api.recipe_schema()
    if markdown:
        from lowmed.report import recipe_keys

        print(recipe_keys.markdown(result))
    else:
        print(json.dumps(result, indent=2))
