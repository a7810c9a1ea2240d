"""Conversations as questions: `conversations` of LLaVA and ShareGPT, `messages` or `prompt` of chat interfaces."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from lowmed.data.ingest import cells
from lowmed.sample import PLACEHOLDER

KEYS = ("conversations", "messages", "conversation", "prompt")
# Columns of a gold answer next to a conversation, whose last assistant turn is then the explanation.
GOLD_KEYS = ("answer", "solution", "gt_answer", "ground_truth", "gold", "answer_label", "short_answer")
_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant",
    "bot": "assistant", "chatgpt": "assistant", "system": "system", "developer": "system",
}  # fmt: skip
_ROLE_KEYS, _TEXT_KEYS = ("from", "role"), ("value", "content", "text")
_IMAGE_KEYS = ("image", "image_url", "input_image", "image_path", "path", "url", "base64", "data", "bytes", "source")
TurnsKept = Literal["all", "last"]


class Turn(dict[str, Any]):
    """A row that is one turn of a conversation.

    Attributes:
        conversation: a digest that all turns of the conversation share; "" if it is the only one.
        users: the user texts of the whole conversation, oldest first.
        notes: what was left out, for the user.
    """

    def __init__(self, row: Mapping[str, Any], conversation: str, users: tuple[str, ...], notes: tuple[str, ...]):
        super().__init__(row)
        self.conversation, self.users, self.notes = conversation, users, notes


def keys_of(names: Iterable[str]) -> list[str]:
    """The columns of a table that may hold conversations."""
    return [name for name in names if name in KEYS]


def questions(row: dict[str, Any], keep: TurnsKept = "all") -> Iterator[Mapping[str, Any] | str]:
    """The turns of a conversation as rows, each with the earlier turns as `history`; any other row is one question.

    Args:
        row: a row of a table.
        keep: the turns that become questions. With `last`, the earlier ones are its history only.

    Returns:
        Rows with the columns `question`, `answer` and `history`, or one text that states why there are none.
    """
    key, messages = next(((key, turns) for key in KEYS if (turns := _messages(row.get(key)))), ("", []))
    if not messages:
        malformed = any(isinstance(row.get(name), list | tuple) and row[name] for name in KEYS)
        yield "the turns of the conversation have no role" if malformed else row
        return
    try:
        yield from _turns(row, key, messages, keep)
    except ValueError as error:
        yield str(error)


def _messages(cell: Any) -> list[Any]:
    """The messages in a cell, which may hold them as JSON; [] if it holds none."""
    if isinstance(cell, str) and cell.lstrip().startswith(("[{", "[ {", "[\n")):
        cell = cells.parse(cell)
    cell = cell.tolist() if hasattr(cell, "tolist") else cell
    is_list = isinstance(cell, list | tuple) and bool(cell) and all(isinstance(part, Mapping) for part in cell)
    return list(cell) if is_list and any(name in cell[0] for name in _ROLE_KEYS) else []


def _turns(row: dict[str, Any], key: str, messages: list[Any], keep: TurnsKept) -> Iterator[Mapping[str, Any] | str]:
    rest = {name: value for name, value in row.items() if name != key}
    if key == "prompt" and "completion" in rest:
        completion = rest.pop("completion")
        messages = messages + (_messages(completion) or [{"role": "assistant", "content": completion}])
    spoken, images = [], []
    for message in messages:
        role, text, shown = _message(message)
        spoken.append((role, text))
        images += shown
    notes = ("the system message was left out; set prompts.system",) if spoken[0][0] == "system" else ()
    spoken = spoken[bool(notes) :]
    users, assistants = ([text for role, text in spoken if role == wanted] for wanted in ("user", "assistant"))
    gold = next((rest[name] for name in GOLD_KEYS if rest.get(name) not in (None, "", [])), None)
    is_open = len(users) == len(assistants) + 1 and spoken[-1][0] == "user" and gold is not None
    if not users or (len(users) != len(assistants) and not is_open):
        yield f"the conversation has {len(users)} questions and {len(assistants)} answers"
        return
    if any(role != ("user", "assistant")[at % 2] for at, (role, _) in enumerate(spoken)):
        yield "the turns of the conversation do not alternate between user and assistant"
        return
    if any(value is not None for value in images):
        if any(value is None for value in images):
            raise ValueError("some image blocks of the conversation name no image")
        rest = {name: value for name, value in rest.items() if name not in ("image", "images")} | {"images": images}
    pairs = [list(pair) for pair in zip(users, [*assistants, None][: len(users)], strict=True)]
    digest = hashlib.sha256(json.dumps(pairs, default=str).encode()).hexdigest()[:12] if len(pairs) > 1 else ""
    for number, (question, answer) in enumerate(pairs, start=1):
        if keep == "last" and number < len(pairs):
            continue
        fields: dict[str, Any] = {"question": question, "answer": answer, "history": pairs[: number - 1]}
        if number == len(pairs) and gold is not None:
            fields = _with_gold(fields, rest, gold)
        numbered = {"id": f"{rest['id']}-{number}"} if "id" in rest and digest else {}
        others = {name: value for name, value in rest.items() if name not in GOLD_KEYS}
        yield Turn({**others, **numbered, **fields}, digest, tuple(users), notes)


def _with_gold(fields: dict[str, Any], rest: Mapping[str, Any], gold: Any) -> dict[str, Any]:
    """The fields of a turn whose row has its own gold answer; the text of the assistant is then the explanation."""
    explained = fields["answer"] is not None and not rest.get("explanation") and fields["answer"] != gold
    return {**fields, "answer": gold, **({"explanation": fields["answer"]} if explained else {})}


def _message(message: Mapping[str, Any]) -> tuple[str, str, list[Any]]:
    """Role, text and images of one message; None for an image that its block does not name.

    Raises:
        ValueError: the role is unknown, or the content is neither text nor images.
    """
    name = str(next((message[key] for key in _ROLE_KEYS if key in message), ""))
    role = _ROLES.get(name.strip().casefold())
    if role is None:
        raise ValueError(f"a turn of the conversation has the role `{name[:20]}`, which is not supported")
    content = next((message[key] for key in _TEXT_KEYS if message.get(key) is not None), "")
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list | tuple):
        return role, _plain(content), []
    text, images, after_text = "", [], False
    for block in content:
        shown = _image_of(block)
        if shown:
            images += shown
            text, after_text = text + PLACEHOLDER * len(shown), False
        else:
            text, after_text = text + ("\n" if after_text else "") + _text_of(block), True
    if images and role != "user":
        raise ValueError(f"an image in the turn of the {role}; only user turns have images")
    return role, text, images


def _image_of(block: Any) -> list[Any]:
    """The image of a content block in a list, [None] if the block only marks its place; [] for another block."""
    if not isinstance(block, Mapping):
        return []
    kind = str(block.get("type", ""))
    if kind not in ("image", "image_url", "input_image") and (kind or "text" in block):
        return []
    value = next((block[key] for key in _IMAGE_KEYS if block.get(key)), None)
    return [value] if value is not None or kind else []


def _text_of(block: Any) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Mapping) and block.get("type", "text") in ("text", "input_text", "output_text"):
        return _plain(next((block[key] for key in ("text", "content", "value") if block.get(key) is not None), ""))
    kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
    raise ValueError(f"a turn of the conversation holds a `{str(kind)[:20]}` block; text and images are read")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple | bytes):
        raise ValueError("the content of a turn is neither a text nor a list of blocks")
    return "" if value is None else str(value)
