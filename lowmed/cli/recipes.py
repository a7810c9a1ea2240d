"""`lowmed recipes`: what ships, and what a recipe may hold."""

import json
from pathlib import Path

import typer

from lowmed.errors import RunError

app = typer.Typer(
    help="The recipes that ship: `lowmed recipes`, `show NAME`, `copy NAME PATH`, `schema`.", rich_markup_mode=None
)


@app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the recipes when no verb is given."""
    if context.invoked_subcommand is None:
        list_recipes(as_json=False)


@app.command("list")
def list_recipes(as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout.")) -> None:
    """One line a recipe.

    \b
    lowmed recipes
    lowmed recipes list --json
    """
    from lowmed import recipe_file

    rows = {}
    for name in recipe_file.shipped():
        values = recipe_file.read(recipe_file.find(name)).values
        rows[name] = {"method": values["method"]["kind"], "about": values["about"]}
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for name, row in rows.items():
        print(f"{name:<12} {row['method']:<5} {row['about']}")


@app.command()
def show(name: str) -> None:
    """Print a recipe as it ships, with where each value comes from.

    \b
    lowmed recipes show rarl
    """
    from lowmed import recipe_file

    print(recipe_file.find(name).read_text(encoding="utf-8"), end="")


@app.command()
def copy(name: str, path: Path) -> None:
    """Copy a recipe to edit it.

    \b
    lowmed recipes copy rarl mine.yaml && lowmed grpo --recipe mine.yaml
    """
    from lowmed import recipe_file
    from lowmed.run import write_text

    if path.exists():
        raise RunError("the file exists", str(path), "choose another name; nothing was written")
    write_text(path, recipe_file.find(name).read_text(encoding="utf-8"))


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors.

    \b
    lowmed recipes schema > recipe.schema.json
    """
    from lowmed.recipe import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=2))
