"""Recipe files as plain values, with the line of every key. No schema is needed here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lowmed.errors import RecipeError
from lowmed.recipe.yaml_limits import MAX_BYTES, CheckedConstructor, LimitError, check_limits

try:
    from yaml import CSafeLoader as _FastLoader  # libyaml, about ten times faster
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _FastLoader  # type: ignore[assignment]

KeyPath = tuple[str | int, ...]
NEXT_STEP = "`lowmed recipes schema --markdown` lists every key"
# PyYAML follows YAML 1.1, which reads `1e-4` as text. YAML 1.2 reads it as a number.
_EXPONENT = ("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))


class _Loader(CheckedConstructor, _FastLoader):
    """The loader for recipes: the C parser where PyYAML has it."""


class _PureLoader(CheckedConstructor, yaml.SafeLoader):
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
        RecipeError: the file is not one readable YAML mapping, has a key twice, or is too large or too deep.
    """
    try:
        places, values = _parse(read_text(path))
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        raise RecipeError(
            f"{path.name} is not valid YAML: {problem(error)}",
            f"{path}:{mark.line + 1}" if mark else str(path),
            "correct that line",
        ) from error
    if not isinstance(values, dict):
        raise RecipeError(
            f"{path.name} is not a recipe: it must be a mapping of keys to values",
            str(path),
            f"start with `about: ...`; {NEXT_STEP}",
        )
    lines: dict[KeyPath, str] = {}
    for key, line in places:
        place = f"{path.name}:{line}"
        if key in lines:
            raise RecipeError(
                f"{path.name} sets `{'.'.join(map(str, key))}` twice", f"{lines[key]} and {place}", "keep one of them"
            )
        lines[key] = place
    return RawRecipe(path.name, values, lines)


def read_text(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        RecipeError: it is no regular file of UTF-8, or is too large.
    """
    try:
        if not path.is_file():  # reading a pipe could wait forever, and a device could have no end
            raise OSError("it is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise OSError(f"it is larger than {MAX_BYTES // 1024} KiB")
        return content.decode()
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path.name} cannot be read: {error}", str(path), "give a YAML file in UTF-8") from error


def parse_value(text: str) -> Any:
    """The value of an override, written in YAML.

    Raises:
        yaml.YAMLError: the text is not valid YAML, has a key twice, or is too large.
    """
    places, value = _parse(text)
    keys = [key for key, _ in places]
    if len(set(keys)) < len(keys):
        raise yaml.MarkedYAMLError(problem="a key is set twice")
    return value


def problem(error: yaml.YAMLError) -> str:
    """What is wrong, in one line."""
    text = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
    return " ".join(str(text).split())


def _parse(text: str) -> tuple[list[tuple[KeyPath, int]], Any]:
    """The line of every key, and the values."""
    try:
        return _parse_with(_Loader, text)
    except LimitError:
        raise
    except (yaml.YAMLError, UnicodeEncodeError):
        pass
    try:
        return _parse_with(_PureLoader, text)
    except yaml.YAMLError:
        raise
    except Exception as error:  # PyYAML's scanner lets chr() raise, among others
        raise yaml.YAMLError(f"it cannot be parsed ({error})") from error


def _parse_with(kind: type[_Loader | _PureLoader], text: str) -> tuple[list[tuple[KeyPath, int]], Any]:
    check_limits(text, kind)
    loader = kind(text)
    try:
        tree = loader.get_single_node()
        places = list(_places(tree))  # before merge keys (`<<`) are replaced by what they stand for
        return places, loader.construct_document(tree) if tree else None
    finally:
        loader.dispose()


def _places(node: yaml.Node | None, above: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode):
        # A key that is no scalar is refused when the values are built.
        children = [(key.value, key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
    elif isinstance(node, yaml.SequenceNode):
        children = [(number, value, value) for number, value in enumerate(node.value)]
    else:
        return
    for key, marked, value in children:
        path = (*above, key)
        yield path, marked.start_mark.line + 1
        yield from _places(value, path)
