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
    from lowmed.recipe.io import find_recipe, read_raw, shipped_recipes

    rows = {}
    for name in shipped_recipes():
        values = read_raw(find_recipe(name)).values
        rows[name] = {"method": values["method"]["kind"], "about": values["about"]}
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    width = max(map(len, rows))
    for name, row in rows.items():
        print(f"{name:<{width}} {row['method']:<5} {row['about']}")


@app.command()
def show(name: str) -> None:
    """Print a recipe as it ships: what is faithful, what reconstructed, and where each value comes from.

    \b
    lowmed recipes show rarl
    """
    from lowmed.recipe.io import find_recipe

    for column, cell in _row(name).items():
        print(f"# {column:<13} {cell}")
    print(find_recipe(name).read_text(encoding="utf-8"), end="")


@app.command()
def copy(name: str, path: Path) -> None:
    """Copy a recipe to edit it.

    \b
    lowmed recipes copy rarl mine.yaml && lowmed grpo --recipe mine.yaml
    """
    from lowmed.files import write_text
    from lowmed.recipe.io import find_recipe

    if path.exists():
        raise RunError("the file exists", str(path), "choose another name; nothing was written")
    write_text(path, find_recipe(name).read_text(encoding="utf-8"))


@app.command()
def schema(
    markdown: bool = typer.Option(False, "--markdown", help="As tables to read: docs/recipes.md."),
) -> None:
    """Print the JSON schema of recipes, for editors, or every key with what it does.

    \b
    lowmed recipes schema > recipe.schema.json
    lowmed recipes schema --markdown
    """
    from lowmed.recipe import Recipe
    from lowmed.report import recipe_keys

    result = Recipe.model_json_schema()
    print(recipe_keys.markdown(result) if markdown else json.dumps(result, indent=2))


def _row(name: str) -> dict[str, str]:
    """What the table of recipes/README.md says of a recipe that ships; nothing of one's own file."""
    from lowmed.recipe.io import recipes_folder

    lines = (recipes_folder() / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    result = next((row for row in rows if row[0] == f"`{name}`"), [])
    return dict(zip(rows[0][1:], result[1:], strict=False))
