"""Recipes as YAML: find, read, override, validate and write them."""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lowmed.errors import RecipeError
from lowmed.recipe.raw import NEXT_STEP, RawRecipe, parse_value, problem, read_raw
from lowmed.recipe.yaml_limits import MAX_DEPTH

if TYPE_CHECKING:  # building the schema takes longer than printing the list of recipes
    from lowmed.recipe.schema import Recipe

# The model and the data that --nano puts in place of the recipe's. nano's layers are 8 times narrower than those of
# Qwen2-VL-2B, and its adapter must move as far in as few steps. Only a scale of 20 was tried: recipes/README.md.
NANO_MODEL = {"name": "nano", "revision": None, "weights": "pretrained", "learning_rate_scale": 20.0}
NANO_DATA = {"source": "phantom", "split_by": "auto"}
# prompt family -> the generated data whose questions it is for, in place of phantom
NANO_SOURCES = {"boxes": "phantom-boxes", "report": "phantom-report", "extract-json": "phantom-forms"}
NANO_KEEPS = ("task", "sample_keys")  # keys of `data` that set the form of the questions, not their source
# An override of a key replaces what the recipe file says in these other forms. Two overrides do not replace each other.
ALTERNATIVES = {
    "data.source": ("data.sources", "data.mixing_temperature"),
    "method.max_steps": ("method.epochs",),
    "method.epochs": ("method.max_steps",),
    "bridge.sft.max_steps": ("bridge.sft.epochs",),
    "bridge.sft.epochs": ("bridge.sft.max_steps",),
    "data.sources": ("data.source", "data.path", "data.mixing_temperature"),
}


def recipes_folder() -> Path:
    """The folder of the shipped recipes: inside the installed package, or next to it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped_recipes() -> list[str]:
    """The names of the shipped recipes, sorted."""
    return sorted(path.stem for path in recipes_folder().glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Args:
        name: the name of a shipped recipe, or the path of a YAML file.

    Raises:
        RecipeError: there is no such file.
    """
    path = Path(name)
    if os.path.isfile(name):  # noqa: PTH113  # Path.is_file raises an error for a name that is too long
        return path
    if path.suffix in (".yaml", ".yml"):
        raise RecipeError(
            f"there is no recipe file {name}",
            "--recipe",
            "check the path; `lowmed recipes` lists the shipped recipes",
        )
    names = shipped_recipes()
    if name in names:
        return recipes_folder() / f"{name}.yaml"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    suggestion = f"did you mean `{close[0]}`? " if close else ""
    raise RecipeError(
        f"there is no recipe `{name}`", "--recipe", f"{suggestion}`lowmed recipes` lists the shipped recipes"
    )


def load_recipe(name: str, overrides: Iterable[str] = (), *, nano: bool = False) -> "Recipe":
    """Load and validate a recipe.

    Args:
        name: the name of a shipped recipe, or the path of a YAML file.
        overrides: `key=value`, applied last.
        nano: replace model and data by the embedded ones, before the overrides.

    Raises:
        RecipeError: the file is missing or is not YAML, or the recipe has mistakes. All mistakes are listed, by line.
    """
    raw = read_raw(find_recipe(name))
    if nano:
        _use_nano(raw)
    texts = list(overrides)
    for override in texts:
        _apply(raw, override)
        _forget_sources(raw, override.partition("=")[0].strip())
    _replace_alternatives(raw, [text.partition("=")[0].strip() for text in texts])
    return _validate(raw)


def dump_recipe(recipe: "Recipe") -> str:
    """The recipe as YAML with every default written out. `load_recipe` reads it back to an equal recipe.

    `max_steps` is left out where `epochs` decides and the data are not known yet.
    """
    values = recipe.model_dump(mode="json")
    if not recipe.steps_are_known:
        del values["method"]["max_steps"]
    if recipe.bridge and recipe.bridge.sft.epochs is not None:
        del values["bridge"]["sft"]["max_steps"]
    return yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True)


def portable_recipe(recipe: "Recipe") -> "Recipe":
    """The recipe with absolute paths made relative to the working directory, so that a run stores none."""
    data, lora, model, judge = recipe.data, recipe.lora, recipe.model, recipe.judge
    return recipe.model_copy(
        update={
            "data": data.with_paths(portable_path).model_copy(
                update={
                    "difficulty": data.difficulty and portable_path(data.difficulty),
                    "pairs": data.pairs and portable_path(data.pairs),
                    "unpaired": data.unpaired and portable_path(data.unpaired),
                }
            ),
            "lora": lora.model_copy(update={"start": lora.start and portable_path(lora.start)}),
            "model": model.model_copy(update={"name": portable_path(model.name)}),
            "judge": judge.model_copy(update={"calibration": judge.calibration and portable_path(judge.calibration)}),
        }
    )


def portable_path(name: str) -> str:
    """An absolute path made relative to the working directory. Other names, such as hub ids, are returned unchanged."""
    path = Path(name).expanduser()
    return os.path.relpath(path) if path.is_absolute() else name


def _validate(raw: RawRecipe) -> "Recipe":
    """The validated recipe.

    Raises:
        RecipeError: its text has one line for each mistake: place, key, what is wrong.
    """
    from pydantic import ValidationError

    from lowmed.recipe.mistakes import all_mistakes
    from lowmed.recipe.schema import Recipe

    try:
        recipe, error = Recipe.model_validate(raw.values), None
    except ValidationError as raised:
        recipe, error = None, raised
    lines = all_mistakes(raw, error)
    if recipe and not lines:
        return recipe
    count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    raise RecipeError(f"{raw.name} has {count}", "\n".join(lines), NEXT_STEP) from error


def _use_nano(raw: RawRecipe) -> None:
    raw.values["model"] = {**_mapping(raw.values.get("model")), **NANO_MODEL}
    data = _mapping(raw.values.get("data"))
    prompts = _mapping(raw.values.get("prompts")).get("infer")
    source = NANO_SOURCES.get(prompts, NANO_DATA["source"]) if isinstance(prompts, str) else NANO_DATA["source"]
    raw.values["data"] = NANO_DATA | {"source": source} | {key: data[key] for key in NANO_KEEPS if key in data}
    of_data = [key for key in _mapping(raw.values.get("provenance")) if f"{key}.".startswith("data.")]
    replaced = [key for key in of_data if key.removeprefix("data.") not in NANO_KEEPS]
    _forget_sources(raw, *(f"model.{key}" for key in NANO_MODEL), *replaced)


def _apply(raw: RawRecipe, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(
            f"`{_start(override)}` is not an override", _start(override), "write key=value, e.g. lora.rank=32"
        )
    try:
        value = parse_value(text)
    except yaml.YAMLError as error:
        what = f"the value of `{_start(override)}` is not valid YAML: {problem(error)}"
        raise RecipeError(what, _start(override), "quote the value") from error
    path = tuple(key.strip().split("."))
    if len(path) > MAX_DEPTH:
        raise RecipeError(f"the key has {len(path)} parts", _start(override), NEXT_STEP)
    section: dict[str, Any] = raw.values
    for depth, part in enumerate(path[:-1], 1):
        inner = section.get(part)
        if isinstance(inner, list):
            name = ".".join(path[:depth])
            raise RecipeError(
                f"`{name}` is a list, and an override cannot change one item of it",
                override,
                f"override the whole list, e.g. '{name}=[...]'",
            )
        if not isinstance(inner, dict):
            inner = section[part] = {}
        section = inner
    section[path[-1]] = value
    for replaced in [other for other in raw.places if other[: len(path)] == path]:
        del raw.places[replaced]
    raw.places[path] = override


def _start(override: str) -> str:
    """An override as part of an error: in one line, and not longer than a few."""
    text = override.replace("\n", "\\n")
    return text if len(text) <= 200 else f"{text[:197]}..."


def _replace_alternatives(raw: RawRecipe, overridden: Sequence[str]) -> None:
    """Drop the values of the file that an override replaces in another form."""
    for key in overridden:
        section, name = _section_of(raw, key)
        others = ALTERNATIVES.get(key, ()) if section.get(name) else ()  # null replaces nothing
        for other in set(others) - set(overridden):
            section, name = _section_of(raw, other)
            if section.pop(name, None) is not None:
                _forget_sources(raw, other)


def _section_of(raw: RawRecipe, key: str) -> tuple[dict[str, Any], str]:
    """The section that holds a key, and the last part of the key; an empty section if there is none."""
    *path, name = key.split(".")
    section: Any = raw.values
    for part in path:
        section = section.get(part) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else {}, name


def _forget_sources(raw: RawRecipe, *replaced: str) -> None:
    """Drop the provenance of values that no longer come from the recipe file."""
    provenance = _mapping(raw.values.get("provenance"))
    kept = {
        key: source
        for key, source in provenance.items()
        if not any(f"{key}.".startswith(f"{part}.") for part in replaced)
    }
    if kept != provenance:
        raw.values["provenance"] = kept


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
