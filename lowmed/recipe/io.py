"""Recipes as YAML: find, read, override, explain every mistake by line, write back."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml

from lowmed.errors import RecipeError

if TYPE_CHECKING:  # the schema takes longer to build than a list of recipes to print
    from pydantic import BaseModel

    from lowmed.recipe import Recipe

FIX = "`lowmed recipes schema` lists every key and what it does"

# What --nano puts in place of the recipe's model and data. nano's layers are 8 times narrower than Qwen2-VL-2B's and
# its adapter must travel as far in as few updates: 20 is the only scale tried, figures in recipes/README.md.
NANO_MODEL = {"name": "nano", "revision": None, "weights": "pretrained", "learning_rate_scale": 20.0}
NANO_DATA = {"source": "phantom", "split_by": "auto"}
NANO_KEEPS = ("task", "sample_keys")  # of the recipe's data: how it is asked, not what it is

Path_ = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Reads `1e-4` as a number, as YAML 1.2 does and everybody means it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class RawRecipe:
    """A recipe as it was written: plain values, and where each key stands."""

    name: str
    values: dict[str, Any]
    places: dict[Path_, str]


def recipes_folder() -> Path:
    """The folder of the recipes that ship: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped_recipes() -> list[str]:
    """The names of the recipes that ship."""
    return sorted(path.stem for path in recipes_folder().glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The file of a shipped recipe's name, or of a path.

    Raises:
        RecipeError: there is no such file.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if path.is_file():
            return path
        raise RecipeError(f"there is no recipe file {name}", name, "check the path; `lowmed recipes` lists what ships")
    if name in shipped_recipes():
        return recipes_folder() / f"{name}.yaml"
    raise RecipeError(
        f"there is no recipe `{name}`",
        "--recipe",
        f"{_guess(name, shipped_recipes())}`lowmed recipes` lists what ships",
    )


def load_recipe(name: str, overrides: Iterable[str] = (), *, nano: bool = False) -> "Recipe":
    """The recipe of that name or path, with `--nano` applied first and `key=value` overrides after it.

    Raises:
        RecipeError: it is missing, is not YAML, or has mistakes; all of them are named at once, by line.
    """
    written = read_raw(find_recipe(name))
    if nano:
        written.values["model"] = {**_mapping(written.values.get("model")), **NANO_MODEL}
        data = _mapping(written.values.get("data"))
        kept = {key: data[key] for key in NANO_KEEPS if key in data}
        written.values["data"] = NANO_DATA | kept
        told = [key for key in _mapping(written.values.get("provenance")) if f"{key}.".startswith("data.")]
        replaced = [key for key in told if key.removeprefix("data.") not in NANO_KEEPS]
        _forget(written, *(f"model.{key}" for key in NANO_MODEL), *replaced)
    for override in overrides:
        _apply(written, override)
        _forget(written, override.partition("=")[0].strip())
    return validate_raw(written)


def read_raw(path: Path) -> RawRecipe:
    """The values of a YAML file and the line of each key, not yet validated.

    Raises:
        RecipeError: the file is not readable as one YAML mapping.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        tree = loader.get_single_node()
        values = loader.construct_document(tree) if tree else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{path.name} is not YAML: {error.problem}", f"{path}{line}", "mend that line") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path.name} can not be read: {error}", str(path), "give a UTF-8 YAML file") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path.name} holds no recipe", str(path), f"start with `about:`; {FIX}")
    places: dict[Path_, str] = {}
    for key, place in _places(tree, path.name) if tree else ():
        if key in places:
            twice = ".".join(map(str, key))
            raise RecipeError(f"{path.name} has `{twice}` twice", f"{places[key]} and {place}", "keep one of them")
        places[key] = place
    return RawRecipe(path.name, values, places)


def validate_raw(written: RawRecipe) -> "Recipe":
    """The recipe, or all its mistakes.

    Raises:
        RecipeError: one line a mistake: place, key, what is wrong.
    """
    from pydantic import ValidationError

    from lowmed.recipe import Recipe

    try:
        return Recipe.model_validate(written.values)
    except ValidationError as error:
        lines = [_mistake(written, dict(problem)) for problem in error.errors()]
    count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    raise RecipeError(f"{written.name} has {count}", "\n".join(dict.fromkeys(lines)), FIX)


def dump_recipe(recipe: "Recipe") -> str:
    """The resolved recipe as YAML, every default written out; `load` takes it back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=120, allow_unicode=True)


def portable_recipe(recipe: "Recipe") -> "Recipe":
    """The recipe with its local paths told from the working folder, so that a run holds no absolute path."""
    data, lora, model, judge = recipe.data, recipe.lora, recipe.model, recipe.judge
    return recipe.model_copy(
        update={
            "data": data.model_copy(
                update={
                    "path": data.path and portable_path(data.path),
                    "difficulty": data.difficulty and portable_path(data.difficulty),
                }
            ),
            "lora": lora.model_copy(update={"start": lora.start and portable_path(lora.start)}),
            "model": model.model_copy(update={"name": portable_path(model.name)}),
            "judge": judge.model_copy(update={"calibration": judge.calibration and portable_path(judge.calibration)}),
        }
    )


def portable_path(name: str) -> str:
    """An absolute path told from the working folder; anything else, a hub id for one, as it is."""
    path = Path(name).expanduser()
    return os.path.relpath(path) if path.is_absolute() else name


def _apply(written: RawRecipe, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"`{override}` is not an override", override, "write key=value, e.g. lora.rank=32")
    try:
        value = yaml.load(text, _Loader)  # noqa: S506  # a subclass of the safe loader
    except yaml.YAMLError as error:
        raise RecipeError(f"the value of `{override}` is not YAML", override, "quote it") from error
    path = tuple(key.strip().split("."))
    section: dict[str, Any] = written.values
    for part in path[:-1]:
        inner = section.get(part)
        if not isinstance(inner, dict):
            inner = section[part] = {}
        section = inner
    section[path[-1]] = value
    written.places[path] = override


def _forget(written: RawRecipe, *replaced: str) -> None:
    """Drop the provenance of values that are no longer the recipe's."""
    provenance = _mapping(written.values.get("provenance"))
    kept = {
        key: source
        for key, source in provenance.items()
        if not any(f"{key}.".startswith(f"{part}.") for part in replaced)
    }
    if kept != provenance:
        written.values["provenance"] = kept


def _mistake(written: RawRecipe, problem: dict[str, Any]) -> str:
    from lowmed.methods import METHODS

    path: Path_ = tuple(problem["loc"])
    if path[:1] == ("method",) and path[1:2] and path[1] in METHODS:
        path = (path[0], *path[2:])  # the tag of the union is no key that a user wrote
    key = ".".join(str(part) for part in path) or "recipe"
    place = next(
        (written.places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in written.places), written.name
    )
    return f"{place}  {key}  {_why(written, path, problem)}"


def _why(written: RawRecipe, path: Path_, problem: dict[str, Any]) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return f"is not a recipe key. {_guess(str(path[-1]), _keys_beside(written, path))}".rstrip()
        case "missing":
            return "is missing"
        case "union_tag_not_found":
            return f"needs {_kinds()}"
        case "union_tag_invalid":
            return f"has an unknown kind, {_short(problem['ctx']['tag'])}; it needs {_kinds()}"
        case "value_error":
            return str(problem["ctx"]["error"])
        case _:
            message = problem["msg"].removeprefix("Input ")
            return f"({_short(problem['input'])}) {message}"


def _kinds() -> str:
    from lowmed.methods import METHODS

    return " or ".join(f"`kind: {kind}`" for kind in METHODS)


def _keys_beside(written: RawRecipe, path: Path_) -> list[str]:
    """The keys that the schema knows where the mistaken one stands."""
    from lowmed.methods import METHODS, GrpoSpec
    from lowmed.recipe import Recipe, Section

    section: type[BaseModel] = Recipe
    for part in path[:-1]:
        if part == "method":
            kind = _mapping(written.values.get("method")).get("kind")
            section = METHODS.get(str(kind), GrpoSpec)
            continue
        if str(part) not in section.model_fields:
            continue  # the name that a user gave a prompt family
        annotation = section.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), section)
    return list(section.model_fields)


def _guess(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean `{close[0]}`? " if close else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _places(node: yaml.Node, name: str, above: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    if isinstance(node, yaml.MappingNode):
        inner = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        inner = [(number, value, value) for number, value in enumerate(node.value)]
    else:
        return
    for key, at, value in inner:
        path = (*above, key)
        yield path, f"{name}:{at.start_mark.line + 1}"
        yield from _places(value, name, path)
