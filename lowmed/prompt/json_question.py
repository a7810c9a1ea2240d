"""The text of a question that requests one JSON object: a line for each key, which describes its value."""

import json
from collections.abc import Mapping

HEAD = "Fill in one JSON object with these keys:"
AS_PRINTED = "Copy each value as it is printed, and leave out what is not printed."


def json_question(described: Mapping[str, str], last: str = "") -> str:
    """The question for an object with these keys, in their order.

    Args:
        described: key -> description of its value, in one line.
        last: a last line, for all keys.
    """
    lines = [HEAD, *(f"{key_head(key)}{description}" for key, description in described.items()), last]
    return "\n".join(filter(None, lines))


def key_head(key: str) -> str:
    """The start of a key's line."""
    return f"{json.dumps(key, ensure_ascii=False)}: "
