"""The text of a question that requests one JSON object: a line for each key, which describes its value."""

import json
from collections.abc import Mapping

HEAD = "Fill in one JSON object with these keys:"


def json_question(described: Mapping[str, str]) -> str:
    """The question for an object with these keys, in their order.

    Args:
        described: key -> description of its value, in one line.
    """
    return "\n".join([HEAD, *(f"{key_head(key)}{description}" for key, description in described.items())])


def key_head(key: str) -> str:
    """The start of a key's line."""
    return f"{json.dumps(key, ensure_ascii=False)}: "
