"""The rows of other tools' data sets as rows with plain columns: one question each."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lowmed.data.ingest import cells, conversations
from lowmed.data.ingest.conversations import TurnsKept

_NUMBERED_IMAGE = re.compile(r"(?:image|img)[ _-]?(\d{1,2})", re.IGNORECASE)


def questions(row: Mapping[str, Any], keep: TurnsKept = "all") -> Iterator[Mapping[str, Any] | str]:
    """The questions of a row: several for a conversation, else one.

    Args:
        row: a row of a table.
        keep: the turns of a conversation that become questions.

    Returns:
        Rows, or one text that states why there are none.
    """
    return conversations.questions(_with_images(_with_input(_with_ground_truth(dict(row)))), keep)


def _with_images(row: dict[str, Any]) -> dict[str, Any]:
    """Some data sets have a column for each image of a question: `image_1`, `image_2` ..."""
    numbered = sorted((int(match[1]), name) for name in row if (match := _NUMBERED_IMAGE.fullmatch(name)))
    if not numbered or "images" in row or "image" in row:
        return row
    names = {name for _, name in numbered}
    images = [row[name] for _, name in numbered if row[name] not in (None, "")]
    return {**{name: value for name, value in row.items() if name not in names}, "images": images}


def _with_ground_truth(row: dict[str, Any]) -> dict[str, Any]:
    """`verl` keeps the gold answer in `reward_model`."""
    model = row.get("reward_model")
    if isinstance(model, str):
        model = cells.parse(model)
    if not isinstance(model, Mapping) or "ground_truth" not in model or row.get("answer"):
        return row
    return {**{name: value for name, value in row.items() if name != "reward_model"}, "answer": model["ground_truth"]}


def _with_input(row: dict[str, Any]) -> dict[str, Any]:
    """LLaMA-Factory's Alpaca form has the task in `instruction` and the rest of the question in `input`."""
    instruction, more = row.get("instruction"), row.get("input")
    if not isinstance(instruction, str) or not isinstance(more, str) or not more.strip() or "question" in row:
        return row
    return {**row, "instruction": f"{instruction}\n{more}", "input": ""}
