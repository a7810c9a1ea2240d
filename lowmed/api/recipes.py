"""List, show and copy recipes, and print their schema."""

from pathlib import Path
from typing import Any


def list_recipes() -> dict[str, dict[str, str]]:
    """Name of each shipped recipe -> its `method` and what it is `about`."""
    from lowmed.recipe.io import find_recipe, shipped_recipes
    from lowmed.recipe.raw import read_raw

    raw = {name: read_raw(find_recipe(name)).values for name in shipped_recipes()}
    return {name: {"method": values["method"]["kind"], "about": values["about"]} for name, values in raw.items()}


def show_recipe(name: str) -> str:
    """A recipe as YAML. For a shipped recipe, comments above it list what is faithful to its source.

    Args:
        name: the name of a shipped recipe, or the path of a YAML file.

    Raises:
        RecipeError: there is no such recipe.
    """
    from lowmed.recipe.io import find_recipe
    from lowmed.recipe.raw import read_text

    text = read_text(find_recipe(name))
    return "".join(f"# {column:<13} {cell}\n" for column, cell in _table_row(name).items()) + text


def copy_recipe(name: str, path: Path) -> None:
    """Copy a recipe to a new file.

    Args:
        name: the name of a shipped recipe, or the path of a YAML file.
        path: the new file.

    Raises:
        RecipeError: there is no such recipe.
        RunError: the file exists.
    """
    from lowmed.files import disk_errors, require_absent, write_text
    from lowmed.recipe.io import find_recipe
    from lowmed.recipe.raw import read_text

    require_absent(path, "the file", "choose another name; nothing was written")
    text = read_text(find_recipe(name))
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of recipes."""
    from lowmed.recipe import Recipe

    return Recipe.model_json_schema()


def _table_row(name: str) -> dict[str, str]:
    """Column -> cell of a shipped recipe in the table of recipes/README.md; empty for other recipes."""
    from lowmed.recipe.io import recipes_folder

    lines = (recipes_folder() / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    cells = next((row for row in rows if row[0] == f"`{name}`"), [])
    return dict(zip(rows[0][1:], cells[1:], strict=False))
