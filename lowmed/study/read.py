"""Reads a study file, and stores it in the folder of the study."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lowmed.errors import RecipeError
from lowmed.files import write_text
from lowmed.recipe.io import portable_path
from lowmed.recipe.raw import RawRecipe, read_raw
from lowmed.study.spec import StudySpec

_FIX = "docs/study.md lists every key"


def load_study(path: Path) -> StudySpec:
    """Read and validate a study file.

    Raises:
        RecipeError: the file is missing or is not YAML, or has mistakes; each one is a line with its place.
    """
    if not path.exists():
        raise RecipeError(f"there is no study file {path.name}", str(path), "check the path")
    raw = read_raw(path)
    try:
        return StudySpec.model_validate(raw.values)
    except ValidationError as error:
        lines = list(dict.fromkeys(_mistake(raw, dict(problem)) for problem in error.errors(include_url=False)))
        count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise RecipeError(f"{path.name} has {count}", "\n".join(lines), _FIX) from None


def store_study(spec: StudySpec, path: Path) -> None:
    """Write the study file with every default, and with absolute paths made relative to the working directory."""
    arms = {name: arm.model_copy(update=_portable(arm.recipe, arm.set, arm.data)) for name, arm in spec.arms.items()}
    sources = tuple(map(_portable_value, spec.eval.sources))
    stored = spec.model_copy(update={"arms": arms, "eval": spec.eval.model_copy(update={"sources": sources})})
    values = stored.model_dump(mode="json", exclude={"processes", "slurm", "skypilot"})  # they change no result
    write_text(path, yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True))


def _portable(recipe: str, overrides: tuple[str, ...], data: str | None) -> dict[str, Any]:
    return {
        "recipe": portable_path(recipe),
        "set": tuple(map(_portable_value, overrides)),
        "data": data and _portable_value(data),
    }


def _portable_value(text: str) -> str:
    name, equals, value = text.partition("=")
    return f"{name}{equals}{portable_path(value)}" if value else text


def _mistake(raw: RawRecipe, problem: dict[str, Any]) -> str:
    path = tuple(problem["loc"])
    kind = "invalid_key" if path[-1:] == ("[key]",) else problem["type"]
    match kind:
        case "extra_forbidden":
            text = "is not a key of a study"
        case "invalid_key":
            text = "has a key that YAML reads as a number, yes or no; put it between quotes"
        case "missing":
            text = "is missing"
        case "value_error":
            text = str(problem["ctx"]["error"])
        case "too_short":
            text = "must have at least one entry"
        case _:
            text = problem["msg"].removeprefix("Input ")
    return f"{raw.place_of(path)}  {'.'.join(map(str, path)) or 'study'}  {text}"
