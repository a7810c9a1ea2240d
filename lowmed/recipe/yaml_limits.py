"""YAML from others: limits that are checked before anything is built, and one kind of error for all mistakes."""

from typing import Any

import yaml

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000  # aliases count as often as what they stand for
MAX_NUMBER = 100  # characters; the time to read a number grows with the square of its length
_NUMBERS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp")}
_UNUSED = {f"tag:yaml.org,2002:{name}" for name in ("binary", "set", "omap", "pairs")}


class LimitError(yaml.MarkedYAMLError):
    """The text is valid YAML and beyond a limit."""


class CheckedConstructor:
    """Part of a loader: every failure to build a value is a YAMLError with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node.

        Args:
            node: the node.
            deep: whether its children are built at once.

        Raises:
            yaml.YAMLError: the value does not fit its tag, or recipes do not use the tag.
        """
        kind = node.tag.rpartition(":")[2]
        if node.tag in _UNUSED:
            raise _error(yaml.MarkedYAMLError, f"`!!{kind}` is no type of a recipe", node)
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
            raise _error(LimitError, f"a number has more than {MAX_NUMBER} characters", node)
        try:
            return super().construct_object(node, deep=deep)  # type: ignore[misc]  # of the loader
        except yaml.YAMLError:
            raise
        except Exception as error:  # PyYAML's constructors raise what int(), float() and datetime raise, and more
            raise _error(yaml.MarkedYAMLError, f"a value is not of the type `{kind}`", node) from error


def check_limits(text: str, loader: Any) -> None:
    """Refuse a text whose values would be too many or too deep, aliases included, without building any.

    Args:
        text: the YAML.
        loader: the class whose parser is used.

    Raises:
        LimitError: a limit is passed, or an alias stands for a node that contains it.
        yaml.YAMLError: the text is not valid YAML.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise LimitError(problem=f"more than {MAX_BYTES // 1024} KiB")
    total = 0
    anchored: dict[str | None, tuple[int, int]] = {}  # anchor -> values and levels of what it stands for
    opened: list[tuple[str | None, int, int]] = []  # of each open collection: anchor, total at its start, levels
    for event in yaml.parse(text, Loader=loader):
        values, levels = 1, 0
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, total, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start, levels = opened.pop()
            values = 0  # already counted
            if anchor:
                anchored[anchor] = total - start, levels
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor:
                anchored[event.anchor] = 1, 0
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _, _ in opened):
                raise _error(LimitError, "an alias stands for a value that contains it", event)
            values, levels = anchored.get(event.anchor, (1, 0))  # unknown: an error of the composer
        else:
            continue
        total += values
        if opened:
            anchor, start, height = opened[-1]
            opened[-1] = anchor, start, max(height, levels + 1)
        if len(opened) + levels > MAX_DEPTH:
            raise _error(LimitError, f"nested deeper than {MAX_DEPTH} levels", event)
        if total > MAX_NODES:
            raise _error(LimitError, f"more than {MAX_NODES} values, aliases included", event)


def _error(kind: type[yaml.MarkedYAMLError], problem: str, place: Any) -> yaml.MarkedYAMLError:
    return kind(problem=problem, problem_mark=place.start_mark)
