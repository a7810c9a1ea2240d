"""Recipe files as plain values, with the line of every key. No schema is needed here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lowmed.errors import RecipeError

try:
    from yaml import CSafeLoader as _FastLoader  # libyaml, about ten times faster
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _FastLoader  # type: ignore[assignment]

KeyPath = tuple[str | int, ...]
NEXT_STEP = "`lowmed recipes schema --markdown` lists every key"
# PyYAML follows YAML 1.1, which reads `1e-4` as text. YAML 1.2 reads it as a number.
_EXPONENT = ("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))


class _Loader(_FastLoader):
    """The loader for recipes: the C parser where PyYAML has it."""


class _PureLoader(yaml.SafeLoader):
    """The pure Python parser. Its error messages do not depend on how PyYAML was built."""


_Loader.add_implicit_resolver(*_EXPONENT)
_PureLoader.add_implicit_resolver(*_EXPONENT)


@dataclass(frozen=True)
class RawRecipe:
    """The plain values of a recipe file, and the place (`file:line` or the override) of each key."""

    name: str
    values: dict[str, Any]
    places: dict[KeyPath, str]

    def place_of(self, path: KeyPath) -> str:
        """The place of a key, or of the nearest section above it."""
        above = (path[:length] for length in range(len(path), 0, -1))
        return next((self.places[part] for part in above if part in self.places), self.name)


def read_raw(path: Path) -> RawRecipe:
    """Read a YAML file without validating it.

    Raises:
        RecipeError: the file is not one readable YAML mapping, or has a key twice.
    """
    try:
        tree, values = _parse(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(
            f"{path.name} is not valid YAML: {error.problem}", f"{path}{line}", "correct that line"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path.name} cannot be read: {error}", str(path), "give a YAML file in UTF-8") from error
    if not isinstance(values, dict):
        raise RecipeError(
            f"{path.name} is not a recipe: it must be a mapping of keys to values",
            str(path),
            f"start with `about: ...`; {NEXT_STEP}",
        )
    places: dict[KeyPath, str] = {}
    for key, place in _places(tree, path.name):
        if key in places:
            raise RecipeError(
                f"{path.name} sets `{'.'.join(map(str, key))}` twice", f"{places[key]} and {place}", "keep one of them"
            )
        places[key] = place
    return RawRecipe(path.name, values, places)


def parse_value(text: str) -> Any:
    """The value of an override, written in YAML.

    Raises:
        yaml.YAMLError: the text is not valid YAML.
    """
    return yaml.load(text, _Loader)  # noqa: S506  # a subclass of a safe loader


def _parse(text: str) -> tuple[yaml.Node | None, Any]:
    try:
        return _parse_with(_Loader, text)
    except yaml.YAMLError:
        return _parse_with(_PureLoader, text)


def _parse_with(kind: type[_Loader | _PureLoader], text: str) -> tuple[yaml.Node | None, Any]:
    loader = kind(text)
    try:
        tree = loader.get_single_node()
        return tree, loader.construct_document(tree) if tree else None
    finally:
        loader.dispose()


def _places(node: yaml.Node | None, name: str, above: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(node, yaml.MappingNode):
        children = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(number, value, value) for number, value in enumerate(node.value)]
    else:
        return
    for key, marked, value in children:
        path = (*above, key)
        yield path, f"{name}:{marked.start_mark.line + 1}"
        yield from _places(value, name, path)
