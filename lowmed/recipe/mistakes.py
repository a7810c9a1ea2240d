"""The mistakes of a recipe in plain English: one line each, with the place, the key and a hint."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lowmed.errors import RecipeError
from lowmed.methods import METHODS, GrpoSpec, RewardSpec
from lowmed.methods.mix import MIXES
from lowmed.recipe.foreign_keys import HINTS
from lowmed.recipe.raw import KeyPath, RawRecipe
from lowmed.recipe.schema import Recipe
from lowmed.section import Section

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
REWARDS: KeyPath = ("method", "rewards")
SOURCES: KeyPath = ("data", "sources")
MIX: KeyPath = ("method", "mix")


def all_mistakes(raw: RawRecipe, error: ValidationError | None) -> list[str]:
    """All mistakes of a recipe, in the order of its lines.

    Args:
        raw: the recipe as written.
        error: what validating its values against the schema raised, or None.
    """
    problems: list[dict[str, Any]] = [dict(problem) for problem in error.errors()] if error else []
    inner = {problem["loc"][:end] for problem in problems for end in range(len(problem["loc"]))}
    # pydantic counts the valid entries of a list: with a mistake in its entries it also calls the list too short.
    reported = [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inner]
    lines = [_schema_mistake(raw, problem) for problem in reported]
    lines += _reward_mistakes(raw, others=bool(lines))
    order = {place: number for number, place in enumerate(raw.places.values())}
    return sorted(dict.fromkeys(lines), key=lambda line: order.get(line.partition("  ")[0], len(raw.places)))


def _reward_mistakes(raw: RawRecipe, *, others: bool) -> list[str]:
    """Unknown names, repeated names, unknown options and wrong values in `method.rewards`.

    Args:
        raw: the recipe as written.
        others: whether the recipe has other mistakes. If so, problems that depend on files, such as a missing
            calibration or custom reward, are listed too. Alone they must not make the recipe of a finished run
            unreadable. `rewards.build` raises them when the rewards are needed.
    """
    method = raw.values.get("method")
    entries = method.get("rewards") if isinstance(method, dict) else None
    if not isinstance(entries, list):
        return []
    lines = []
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            repeated = any(isinstance(other, dict) and other.get("name") == entry["name"] for other in entries[:number])
            for part, text in _reward_problems(entry, repeated, files=others):
                lines.append(_line(raw, (*REWARDS, number, *part), text))
    return lines


def _reward_problems(entry: dict[str, Any], repeated: bool, *, files: bool) -> Iterator[tuple[KeyPath, str]]:
    from lowmed.rewards import registry  # rewards are built on recipes, so these imports cannot be at the top
    from lowmed.rewards.custom import is_custom, require_file

    name = entry["name"]
    options = {str(key): value for key, value in entry.items() if key not in RewardSpec.model_fields}
    if repeated:
        yield ("name",), f"is the second `{name}`. Name each reward once, with one weight."
    custom = is_custom(name)
    if not custom and name not in registry.REWARDS:
        hint = _did_you_mean(name, registry.REWARDS) or f"Use one of {', '.join(registry.REWARDS)}."
        yield ("name",), f"there is no reward `{name}`. {hint}"
        return
    known = {} if custom else registry.options(name)
    problems = [(option, _option_problem(name, option, value, known)) for option, value in options.items()]
    wrong = [((option,), text) for option, text in problems if text]
    yield from wrong
    if files and not wrong:
        try:
            if custom:
                require_file(name)  # reading a recipe must not execute it
            else:
                registry.build([(name, 1.0, options)], judge=object())
        except RecipeError as error:
            yield (), f"{error.what}. To fix it: {error.fix}."


def _option_problem(reward: str, option: str, value: object, known: Mapping[str, tuple[Any, Any]]) -> str | None:
    if option not in known:
        hint = _did_you_mean(option, [*RewardSpec.model_fields, *known])
        options = f"Its options are {', '.join(known)}." if known else "It has no options."
        return f"is not an option of the reward `{reward}`. {hint or options}"
    try:
        TypeAdapter(known[option][0], config=STRICT).validate_python(value)
    except ValidationError as error:
        messages = dict.fromkeys(problem["msg"].removeprefix("Input ") for problem in error.errors())
        return f"({_short(value)}) {', or '.join(messages)}"
    return None


def _schema_mistake(raw: RawRecipe, problem: dict[str, Any]) -> str:
    path: KeyPath = tuple(problem["loc"])
    if path[:1] == ("method",) and path[1:2] and path[1] in METHODS:
        path = (path[0], *path[2:])  # pydantic adds the kind of the method, which is not a key of the recipe
    if path[:2] == MIX and path[2:3] and path[2] in MIXES:
        path = (*MIX, *path[3:])
    return _line(raw, path, _explain(raw, path, problem))


def _line(raw: RawRecipe, path: KeyPath, text: str) -> str:
    return f"{raw.place_of(path)}  {'.'.join(map(str, path)) or 'recipe'}  {text}".rstrip()


def _explain(raw: RawRecipe, path: KeyPath, problem: dict[str, Any]) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return f"is not a recipe key. {_key_hint(raw, path)}"
        case "missing":
            return f"is missing{_colon_hint(str(path[-1]), problem['input'])}"
        case "union_tag_not_found":
            return f"needs {_kinds(_kinds_at(path))}"
        case "union_tag_invalid":
            return f"has an unknown kind, {_short(problem['ctx']['tag'])}; it needs {_kinds(_kinds_at(path))}"
        case "value_error":
            return str(problem["ctx"]["error"])
        case "model_type" if path[:-1] == REWARDS and isinstance(problem["input"], str):
            return f"must be a mapping: write {{name: {problem['input']}}}"
        case "model_type" if path[:-1] == SOURCES and isinstance(problem["input"], str):
            return f"must be a mapping: write {{source: {problem['input']}}}"
        case "tuple_type":
            return f"({_short(problem['input'])}) must be a list"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"({_short(problem['input'])}) must be a mapping of keys to values"
        case _:
            return f"({_short(problem['input'])}) {problem['msg'].removeprefix('Input ')}"


def _colon_hint(key: str, mapping: object) -> str:
    """A hint for `{name:accuracy}`, which YAML reads as one key."""
    joined = (
        [str(written) for written in mapping if str(written).startswith(f"{key}:")] if isinstance(mapping, dict) else []
    )
    return f". Write a space after the colon: `{joined[0].replace(':', ': ', 1)}`" if joined else ""


def _kinds_at(path: KeyPath) -> Iterable[str]:
    return MIXES if path == MIX else METHODS


def _kinds(kinds: Iterable[str]) -> str:
    return " or ".join(f"`kind: {kind}`" for kind in kinds)


def _key_hint(raw: RawRecipe, path: KeyPath) -> str:
    """The suggested replacement of an unknown key."""
    key, dotted = str(path[-1]), ".".join(map(str, path))
    if hint := HINTS.get(dotted) or HINTS.get(key):
        return hint
    homes = [home for home in _all_keys() if home.rpartition(".")[2] == key]
    if dotted in homes:
        return f"It belongs to {_kinds(kind for kind, spec in METHODS.items() if key in spec.model_fields)}."
    if len(homes) == 1:
        return f"Write `{homes[0]}`."
    return _did_you_mean(key, _section(raw, path).model_fields)


def _all_keys() -> list[str]:
    """The dotted keys of the top-level sections."""
    keys = []
    for name, field in Recipe.model_fields.items():
        specs = list(METHODS.values()) if name == "method" else _sections(field.annotation)
        keys += [f"{name}.{key}" for spec in specs for key in spec.model_fields]
    return list(dict.fromkeys(keys))


def _section(raw: RawRecipe, path: KeyPath) -> type[BaseModel]:
    """The section of the schema that holds a key."""
    section: type[BaseModel] = Recipe
    for part in path[:-1]:
        if part == "method":
            method = raw.values.get("method")
            kind = method.get("kind") if isinstance(method, dict) else None
            section = METHODS.get(str(kind), GrpoSpec)
        elif path[:2] == MIX and part == "mix":
            section = MIXES[str(raw.values["method"]["mix"]["kind"])]
        elif str(part) in section.model_fields:  # else the name that the recipe gives to a prompt family
            section = next(iter(_sections(section.model_fields[str(part)].annotation)), section)
    return section


def _sections(annotation: Any) -> list[type[Section]]:
    candidates = [annotation, *get_args(annotation)]
    return [candidate for candidate in candidates if isinstance(candidate, type) and issubclass(candidate, Section)]


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean `{close[0]}`?" if close else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
